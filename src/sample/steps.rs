//! The table of a sampling run: one row per pass, plain data that can be printed, edited and replayed.
//!
//! Letters: `t` is the noise ratio of a picture, 0..=1.

use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// One pass: the noise ratio that the model gets, how it draws, and the noise ratio that is put back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Noise ratio of the tokens that go in, 0..=1.
    pub t: f64,
    /// Softmax divisor, above 0: low is safe, high is varied.
    pub temperature: f64,
    /// Classifier-free guidance: 1 is off, higher follows the text more closely.
    pub cfg_scale: f64,
    /// Noise ratio put back after the draw; 0 keeps every token.
    pub t_next: f64,
}

/// How a picture is sampled. Pairs are the values at the first and the last step, linear between.
///
/// Source: the model card of Paella v3: 12 steps, temperature 0.7 to 0.3, guidance 8, t from 1 to 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleConfig {
    /// Number of passes.
    pub steps: i64,
    /// Number of leading passes that put noise back. Reference: all but the last.
    pub renoise_steps: i64,
    pub temperature: (f64, f64),
    pub cfg_scale: (f64, f64),
    /// Number of leading passes with guidance; later ones use the text alone.
    pub guided_steps: i64,
    pub t_start: f64,
    pub t_end: f64,
    /// Take the most likely token instead of drawing one.
    pub greedy: bool,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self {
            steps: 12,
            renoise_steps: 11,
            temperature: (0.7, 0.3),
            cfg_scale: (8.0, 8.0), // for the published model; small models that know their pictures want 1 to 3
            guided_steps: 12,
            t_start: 1.0,
            t_end: 0.0,
            greedy: false,
        }
    }
}

impl SampleConfig {
    /// The same with another number of steps: the same share of them guided, and renoised. If it was all but the last one
    /// that put noise back, it is again.
    pub fn with_steps(&self, steps: i64) -> Self {
        let share = |part: i64| (part.saturating_mul(steps) + self.steps / 2) / self.steps.max(1);
        // noise after the last pass would stay in the picture
        let most = if self.renoise_steps < self.steps { steps - 1 } else { steps };
        let all_but_one = self.renoise_steps == self.steps - 1;
        let renoise_steps = if all_but_one { most } else { share(self.renoise_steps).min(most) };
        // few steps of many are still some
        let guided_steps = share(self.guided_steps).max(self.guided_steps.min(1));
        Self { steps, renoise_steps, guided_steps, ..self.clone() }
    }

    /// The table of passes.
    pub fn schedule(&self) -> Vec<Step> {
        // One more than there are passes: a pass goes from t[i] to t[i + 1].
        let t = linspace(self.t_start, self.t_end, self.steps + 1);
        let temperature = linspace(self.temperature.0, self.temperature.1, self.steps);
        let cfg_scale = linspace(self.cfg_scale.0, self.cfg_scale.1, self.steps);
        let row = |i: usize| Step {
            t: t[i],
            temperature: temperature[i],
            cfg_scale: if (i as i64) < self.guided_steps { cfg_scale[i] } else { 1.0 }, // 1: no second guess
            t_next: if (i as i64) < self.renoise_steps { t[i + 1] } else { 0.0 },
        };
        (0..self.steps as usize).map(row).collect()
    }

    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.within("steps", self.steps, 1, 1000);
        found.within("renoise_steps", self.renoise_steps, 0, self.steps.max(0));
        found.within("guided_steps", self.guided_steps, 0, self.steps.max(0));
        for end in [self.temperature.0, self.temperature.1] {
            found.number("temperature", end, 0.01, 100.0);
        }
        for end in [self.cfg_scale.0, self.cfg_scale.1] {
            found.number("cfg_scale", end, 0.0, 100.0);
        }
        found.share("t_start", self.t_start);
        found.share("t_end", self.t_end);
        found.faults()
    }
}

/// `torch.linspace` in float32, as the reference makes its schedules: f64 would differ in the last digits.
pub fn linspace(start: f64, end: f64, count: i64) -> Vec<f64> {
    let values = Tensor::linspace(start, end, count, (Kind::Float, Device::Cpu));
    values.iter::<f64>().expect("a float tensor").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_number_of_steps_keeps_what_was_set() {
        let with = |guided_steps, renoise_steps| {
            let config = SampleConfig { guided_steps, renoise_steps, ..SampleConfig::default() };
            let config = config.with_steps(6);
            assert!(config.check().is_empty());
            (config.guided_steps, config.renoise_steps)
        };
        assert_eq!(with(12, 11), (6, 5)); // all, and all but one
        assert_eq!((with(0, 0), with(4, 6), with(12, 12)), ((0, 0), (2, 3), (6, 6)));
        let few = SampleConfig { guided_steps: 1, renoise_steps: 10, ..SampleConfig::default() };
        let few = few.with_steps(3);
        assert_eq!((few.guided_steps, few.renoise_steps), (1, 2));
    }

    #[test]
    fn the_schedule_of_the_model_card() {
        let schedule = SampleConfig::default().schedule();
        assert_eq!(schedule.len(), 12);
        assert_eq!((schedule[0].t, schedule[11].t_next), (1.0, 0.0));
        assert!(schedule.windows(2).all(|w| w[0].t_next == w[1].t && w[1].t < w[0].t));
    }
}
