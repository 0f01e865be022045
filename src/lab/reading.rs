//! `read`: what a rule reads from pictures of scenes, and how much of the captions is right.

use super::view::View;
use super::watch::Watch;
use super::{Lab, SampleRequest};
use crate::data::Source;
use crate::data::scenes::words::Claim;
use crate::data::scenes::world::SIDE;
use crate::error::{Result, counted};
use crate::eval::scene_reader::{Reading, SceneReader, Seen};
use crate::eval::scenes::{SceneScore, Verdict, questioned, verdict_on};
use crate::image;

impl Lab {
    /// The objects and the ground of the current picture, as a rule reads them, and what of its caption is right.
    ///
    /// Errors: no picture; one that is not of the size that the rule knows.
    pub fn read(&self) -> Result<View> {
        let (reading, verdict) = self.reading()?;
        let row = |seen: &Seen| {
            let shape = seen.shape.map_or("none of the world's", |shape| shape.word());
            let words = [seen.size.word(), seen.colour.word(), shape].map(String::from);
            words.into_iter().chain([seen.x.to_string(), seen.y.to_string()]).collect()
        };
        let (ground, count) = (reading.ground.word(), counted(reading.objects.len(), "object"));
        let mut view = View::new().text(format!("{count} on {ground}"));
        if !reading.objects.is_empty() {
            let rows = reading.objects.iter().map(row).collect();
            view = view.table(&["size", "colour", "shape", "column", "row"], rows);
        }
        let caption = &self.state.workspace.picture()?.caption;
        Ok(match verdict {
            Some(verdict) => view.text(format!("\"{caption}\": {}", in_words(&verdict))),
            None => {
                view.note(format!("\"{caption}\" is no caption of scenes: nothing to compare with"))
            }
        })
    }

    /// Whether the current picture is a generated one that does not show what its caption says.
    ///
    /// Errors: as [`Lab::read`]; a picture that was not generated; a caption that is none of scenes.
    pub fn is_misread(&self) -> Result<bool> {
        let workspace = &self.state.workspace;
        let hint = "`sample \"a small red star on snow\"`";
        let walked = workspace.sampling.as_ref().is_some_and(|run| run.path.len() > 1);
        if workspace.made.is_none() && !walked {
            return Err(Self::fault("the picture was not generated", hint));
        }
        match self.reading()?.1 {
            Some(verdict) => Ok(!verdict.whole()),
            None => Err(Self::fault("the caption is none of scenes", hint)),
        }
    }

    /// The current picture by rule, and what of its caption is right, if that is one of scenes.
    fn reading(&self) -> Result<(Reading, Option<Verdict>)> {
        let picture = self.state.workspace.picture()?;
        let size = picture.images.size();
        if size[2..] != [i64::from(SIDE); 2] {
            let what = format!(
                "the rule reads scenes of {SIDE} x {SIDE} pixels, not {} x {}",
                size[3], size[2]
            );
            return Err(Self::fault(what, "`data scenes size=64`, `show 0`, `read`"));
        }
        let reading = SceneReader::new().read(&image::from_tensor(&picture.images.get(0)));
        let verdict = Claim::parse(&picture.caption).ok().map(|claim| verdict_on(&claim, &reading));
        Ok((reading, verdict))
    }

    /// Shares of `count` captions of each kind whose pictures show what they say. `request` gives steps, guidance and
    /// temperature.
    ///
    /// Errors: a model of other data; as [`questioned`].
    pub fn read_many(
        &mut self,
        count: usize,
        request: &SampleRequest,
        watch: &mut dyn Watch,
    ) -> Result<View> {
        let (sample, seed) =
            (request.config(&self.state.settings.sample), self.state.settings.eval.seed);
        let model = self.model()?;
        let model = model.borrow();
        let nets = model.nets();
        let data = &nets.config.data;
        let (Source::Scenes(world), true) = (&data.source, data.has_scenes()) else {
            let hint = "`load scenes`; only its pictures are read by rule";
            return Err(Self::fault("this model did not learn from scenes", hint));
        };
        let mut all = 0;
        let scores = questioned(nets, world, &sample, (count, seed), &mut |done, of| {
            all = of;
            watch.pass(done, of);
            !watch.stop()
        })?;
        let stopped = (scores.len() < all)
            .then(|| format!("stopped after {} of {all} kinds of captions", scores.len()));
        let rows = scores.iter().map(score_row).collect();
        Ok(View::new().table(&SCORE_HEADERS, rows).notes(stopped).note(
            "held-out pairs and relations were never in training, ordinary captions may have been",
        ))
    }
}

/// Headers of [`score_row`].
pub const SCORE_HEADERS: [&str; 10] = [
    "captions",
    "objects",
    "asked",
    "count",
    "shape",
    "colour",
    "size",
    "relation",
    "background",
    "whole caption",
];

/// One row of scores of scenes.
pub fn score_row(s: &SceneScore) -> Vec<String> {
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let relation = s.relation.map_or(String::new(), percent);
    let shares = [s.count, s.shape, s.colour, s.size].map(percent);
    let head = [s.kind.word().to_string(), s.objects.to_string(), s.captions.to_string()];
    let tail = [relation, percent(s.background), percent(s.whole)];
    head.into_iter().chain(shares).chain(tail).collect()
}

/// `right`, or what is not.
fn in_words(verdict: &Verdict) -> String {
    let parts = [
        ("the number of objects", verdict.count),
        ("shape", verdict.shape),
        ("colour", verdict.colour),
        ("size", verdict.size),
        ("relation", verdict.relation),
        ("background", verdict.ground),
    ];
    let wrong: Vec<&str> =
        parts.iter().filter(|(_, right)| !right).map(|(name, _)| *name).collect();
    if wrong.is_empty() { "right".into() } else { format!("wrong: {}", wrong.join(", ")) }
}
