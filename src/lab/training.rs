//! Training commands: `step` shows all numbers of each step, `train` shows one line of progress.

use super::Lab;
use super::preview::Subjects;
use super::view::View;
use super::watch::Watch;
use crate::data::Part;
use crate::error::{Result, counted};
use crate::metrics::StepRecord;
use crate::networks::Networks;
use std::rc::Rc;
use std::time::Instant;

impl Lab {
    /// Runs `count` steps, with one row of numbers for each.
    pub fn step(&mut self, count: u64, watch: &mut dyn Watch) -> Result<View> {
        let records = self.advance(count, watch)?;
        let row = |r: &StepRecord| {
            vec![
                r.phase.clone(),
                r.step.to_string(),
                format!("{:.4}", r.loss),
                format!("{:.1}%", r.accuracy * 100.0),
                format!("{:.3}", r.grad_norm),
                format!("{:.2e}", r.lr),
            ]
        };
        let headers = ["phase", "step", "loss", "accuracy", "gradient norm", "learning rate"];
        let view = View::new().table(&headers, records.iter().map(row).collect());
        let still = records.iter().find(|r| r.lr == 0.0);
        Ok(still.into_iter().fold(view, |view, r| {
            view.note(format!(
                "step {} has the learning rate 0, where the warm-up begins: it changes no weight, as in the reference",
                r.step
            ))
        }))
    }

    /// Runs `count` steps and summarises them in one line.
    pub fn train(&mut self, count: u64, watch: &mut dyn Watch) -> Result<View> {
        let start = Instant::now();
        let records = self.advance(count, watch)?;
        let Some(last) = records.last() else {
            return Ok(View::new().note("stopped before the first step"));
        };
        let own: Vec<&StepRecord> = records.iter().filter(|r| r.phase == last.phase).collect();
        let (first, before) = (own[0], records.len() - own.len());
        let text = format!(
            "{}, step {}: loss {:.3} -> {:.3}, accuracy {:.1}% -> {:.1}%, {:.1} s",
            last.phase,
            last.step,
            first.loss,
            last.loss,
            first.accuracy * 100.0,
            last.accuracy * 100.0,
            start.elapsed().as_secs_f64()
        );
        let view = View::new().text(text);
        let view = match before {
            0 => view,
            1 => view.note(format!("the first step was the {}'s", records[0].phase)),
            n => view.note(format!("the first {n} steps were the {}'s", records[0].phase)),
        };
        let stopped = (records.len() as u64) < count;
        let view = if stopped {
            view.note(format!(
                "stopped after {} of {}; the model keeps them",
                records.len(),
                counted(count, "step")
            ))
        } else {
            view
        };
        Ok(view.note("`plot loss` shows the curve, `sample TEXT` tries the model, `save DIR` keeps it, `undo` takes it back"))
    }

    /// Runs the steps. Stops early if the watch asks for it.
    ///
    /// Errors: as `DenoiserTrainer::step`; the weights are then restored to those before the first step.
    fn advance(&mut self, count: u64, watch: &mut dyn Watch) -> Result<Vec<StepRecord>> {
        let data = self.data(Part::Train)?;
        let model = self.model()?;
        self.keep_weights();
        let mut model = model.borrow_mut();
        model.begin_training(&self.state.settings)?;
        let end = model.step + count;
        let subjects = Subjects::new(&self.state.workspace, &data);
        let mut records: Vec<StepRecord> = Vec::new();
        while model.step < end && !watch.stop() {
            let record = model.train_step(&data)?;
            watch.record(&record, Some((count + model.step - end, count)));
            if watch.wants_preview(model.step == end) {
                let sample = &self.state.settings.sample;
                let look =
                    |nets: &Networks| subjects.preview(nets, sample, &record, &|| watch.stop());
                let preview = model.look(look)?;
                preview.into_iter().for_each(|preview| watch.preview(preview));
            }
            records.push(record);
        }
        model.end_training();
        if records.iter().any(|r| r.phase == "tokenizer") {
            let workspace = &mut self.state.workspace; // the codes have changed their meaning
            (workspace.tokens, workspace.noised) = (None, None);
            (workspace.sampling, workspace.made) = (None, None);
        }
        Rc::make_mut(&mut self.state.log).extend(records.iter().cloned());
        Ok(records)
    }
}
