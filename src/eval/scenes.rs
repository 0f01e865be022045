//! Whether pictures of scenes show what their captions say, as read by rule.
//!
//! Letters: B pictures of S x S pixels.

use super::pictures;
use super::scene_reader::{Reading, SceneReader, Seen};
use crate::data::scenes::words::{Claim, SpokenObject};
use crate::data::scenes::world::{Relation, SIDE};
use crate::data::scenes::{SceneKind, ScenePicture, ScenesConfig, drawn};
use crate::error::{Error, Result, counted};
use crate::image::all_from_tensor;
use crate::networks::Networks;
use crate::sample::SampleConfig;
use image::RgbImage;
use serde::Serialize;
use tch::{Kind as Dtype, Tensor};

/// What a picture has right of its caption. A part that the caption leaves out is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// As many objects.
    pub count: bool,
    /// The shapes of all objects; likewise the others.
    pub shape: bool,
    pub colour: bool,
    pub size: bool,
    pub relation: bool,
    pub ground: bool,
}

impl Verdict {
    /// All of it.
    pub fn whole(&self) -> bool {
        self.count && self.shape && self.colour && self.size && self.relation && self.ground
    }

    /// Parts that are right, by which the objects of caption and picture are paired.
    fn points(&self) -> usize {
        [self.shape, self.colour, self.size, self.relation].iter().filter(|&&right| right).count()
    }
}

/// Compare a picture with a caption, its objects paired so that most is right.
pub fn verdict_on(claim: &Claim, reading: &Reading) -> Verdict {
    let count = claim.objects.len() == reading.objects.len();
    let ground = claim.ground.is_none_or(|ground| ground == reading.ground);
    let mut best = (0, Verdict { count, ground, ..Verdict::default() });
    for pairing in pairings(claim.objects.len(), reading.objects.len()) {
        let pairs = pairing.iter().map(|at| at.map(|at| &reading.objects[at]));
        let seen: Vec<Option<&Seen>> = pairs.collect();
        let parts = parts(claim, &seen);
        // single objects count too: one right of two is more than none
        let points = parts.iter().map(|part| part.points()).sum::<usize>();
        if points >= best.0 {
            let all = |which: fn(&Verdict) -> bool| parts.iter().all(which);
            let verdict = Verdict {
                count,
                ground,
                shape: all(|part| part.shape),
                colour: all(|part| part.colour),
                size: all(|part| part.size),
                relation: all(|part| part.relation),
            };
            if points > best.0 || verdict.points() >= best.1.points() {
                best = (points, verdict);
            }
        }
    }
    best.1
}

/// Each object by itself; `seen[i]` is paired with object `i` of the caption.
fn parts(claim: &Claim, seen: &[Option<&Seen>]) -> Vec<Verdict> {
    let related = |i: usize| {
        let Some(said) = i.checked_sub(1).and_then(|i| claim.relations[i]) else { return true };
        let (Some(object), Some(hub)) = (seen[i], seen[0]) else { return false };
        Relation::between(&object.object(), &hub.object()) == Some(said)
    };
    let part = |(i, said): (usize, &SpokenObject)| {
        let is = |right: &dyn Fn(&Seen) -> bool| seen[i].is_some_and(right);
        Verdict {
            shape: is(&|seen| seen.shape == Some(said.shape)),
            colour: is(&|seen| said.colour.is_none_or(|colour| colour == seen.colour)),
            size: is(&|seen| said.size.is_none_or(|size| size == seen.size)),
            relation: related(i),
            ..Verdict::default()
        }
    };
    claim.objects.iter().enumerate().map(part).collect()
}

/// All ways to pair `n` objects with `m` others, each used once; `None` where there are too few.
fn pairings(n: usize, m: usize) -> Vec<Vec<Option<usize>>> {
    let mut all = vec![vec![]];
    for _ in 0..n {
        let longer = |pairing: &Vec<Option<usize>>| -> Vec<Vec<Option<usize>>> {
            let free = (0..m).filter(|at| !pairing.contains(&Some(*at))).map(Some);
            let missing = m < n || m > 6; // a picture full of specks has too many ways
            let next = free.chain(missing.then_some(None)).take(7);
            next.map(|at| pairing.iter().copied().chain([at]).collect()).collect()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// Shares right, 0..=1, over some captions.
#[derive(Clone, Debug, Serialize)]
pub struct SceneScore {
    pub kind: SceneKind,
    pub objects: usize,
    pub captions: usize,
    pub count: f64,
    pub shape: f64,
    pub colour: f64,
    pub size: f64,
    /// Of captions with two and more objects.
    pub relation: Option<f64>,
    pub background: f64,
    pub whole: f64,
}

impl SceneScore {
    fn new(kind: SceneKind, objects: usize, verdicts: &[Verdict]) -> Self {
        let share = |which: fn(&Verdict) -> bool| {
            verdicts.iter().filter(|verdict| which(verdict)).count() as f64
                / verdicts.len().max(1) as f64
        };
        Self {
            kind,
            objects,
            captions: verdicts.len(),
            count: share(|v| v.count),
            shape: share(|v| v.shape),
            colour: share(|v| v.colour),
            size: share(|v| v.size),
            relation: (objects > 1).then(|| share(|v| v.relation)),
            background: share(|v| v.ground),
            whole: share(Verdict::whole),
        }
    }
}

/// How well scenes are shown.
#[derive(Clone, Debug, Serialize)]
pub struct SceneScores {
    /// Pictures generated from captions.
    pub generated: Vec<SceneScore>,
    /// Drawn pictures after tokenizer and decoder: what no denoiser can better.
    pub reconstructed: Vec<SceneScore>,
    /// Different codes in a drawn picture, on average.
    pub codes_per_picture: f64,
}

/// Score a model on scenes: `captions` of each kind and number of objects.
///
/// Errors: a config that leaves too few scenes; a size other than the reader's.
pub fn score(
    nets: &Networks,
    scenes: &ScenesConfig,
    note: &mut dyn FnMut(&str),
) -> Result<SceneScores> {
    let (reader, captions) = (SceneReader::new(), nets.config.eval.captions);
    readable(nets)?;
    let (mut generated, mut reconstructed) = (Vec::new(), Vec::new());
    let (mut codes, mut seen) = (0.0, 0);
    for (kind, count) in questions(scenes) {
        note(&format!(
            "{}, {}, {}",
            counted(captions, "caption"),
            kind.word(),
            counted(count, "object")
        ));
        let asked = ask(scenes, kind, count, captions)?;
        let how = (&nets.config.sample, nets.config.eval.seed);
        generated.push(of_captions(nets, &asked, (kind, count), how, &reader));
        let images = drawn(&asked, SIDE.into())?.to_kind(Dtype::Float) / 255.0;
        let tokens = nets.encode(&images);
        codes += codes_per_picture(&tokens) * asked.len() as f64;
        seen += asked.len();
        let verdicts = verdicts(&asked, &nets.decode(&tokens), &reader);
        reconstructed.push(SceneScore::new(kind, count, &verdicts));
    }
    Ok(SceneScores { generated, reconstructed, codes_per_picture: codes / seen.max(1) as f64 })
}

/// Share of whole captions right at other settings of the sampler, one row each.
///
/// Errors: as [`score`].
pub fn sweep(
    nets: &Networks,
    scenes: &ScenesConfig,
    settings: &[SampleConfig],
    note: &mut dyn FnMut(&str),
) -> Result<Vec<Vec<SceneScore>>> {
    let mut rows = Vec::new();
    for (i, sample) in settings.iter().enumerate() {
        note(&format!("setting {} of {}", i + 1, settings.len()));
        let eval = &nets.config.eval;
        rows.push(questioned(nets, scenes, sample, (eval.captions, eval.seed), &mut |_, _| true)?);
    }
    Ok(rows)
}

/// Scores of pictures generated under these settings and this seed, from `captions` of each kind and number of objects. `go_on`
/// is told how many of these are done, and of how many; if it says no, the others are left out.
///
/// Errors: as [`score`].
pub fn questioned(
    nets: &Networks,
    scenes: &ScenesConfig,
    sample: &SampleConfig,
    (captions, seed): (usize, u64),
    go_on: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Vec<SceneScore>> {
    readable(nets)?;
    let (reader, questions) = (SceneReader::new(), questions(scenes));
    let mut scores = Vec::new();
    for (i, (kind, count)) in questions.iter().enumerate() {
        let asked = ask(scenes, *kind, *count, captions)?;
        scores.push(of_captions(nets, &asked, (*kind, *count), (sample, seed), &reader));
        if !go_on(i + 1, questions.len()) {
            break;
        }
    }
    Ok(scores)
}

/// Every kind with every number of objects that the config draws.
fn questions(scenes: &ScenesConfig) -> Vec<(SceneKind, usize)> {
    let counts = || (1..=scenes.objects.len()).filter(|n| scenes.objects[n - 1] > 0.0);
    let all = SceneKind::ALL.into_iter().flat_map(|kind| counts().map(move |n| (kind, n)));
    all.filter(|(kind, n)| scenes.has(*kind) && (*kind != SceneKind::Relation || *n > 1)).collect()
}

fn ask(
    scenes: &ScenesConfig,
    kind: SceneKind,
    count: usize,
    captions: usize,
) -> Result<Vec<ScenePicture>> {
    (0..captions as u64).map(|i| scenes.question(kind, count, i)).collect()
}

fn readable(nets: &Networks) -> Result<()> {
    let size = nets.config.data.size;
    if size == i64::from(SIDE) {
        return Ok(());
    }
    let what = format!("scenes of {size} pixels a side cannot be read");
    Err(Error::data(what, "`data.size`", format!("{SIDE}")))
}

/// Generate a picture for each caption and read it.
fn of_captions(
    nets: &Networks,
    asked: &[ScenePicture],
    (kind, count): (SceneKind, usize),
    (sample, seed): (&SampleConfig, u64),
    reader: &SceneReader,
) -> SceneScore {
    let captions: Vec<String> = asked.iter().map(|picture| picture.caption.clone()).collect();
    let images = pictures(nets, &captions, sample, seed);
    SceneScore::new(kind, count, &verdicts(asked, &images, reader))
}

/// images (B, 3, S, S) f32 in 0..=1.
fn verdicts(asked: &[ScenePicture], images: &Tensor, reader: &SceneReader) -> Vec<Verdict> {
    let shown = all_from_tensor(images);
    let read = |(picture, shown): (&ScenePicture, &RgbImage)| {
        verdict_on(&picture.claim, &reader.read(shown))
    };
    asked.iter().zip(&shown).map(read).collect()
}

/// Different codes in a picture, on average: tokens (B, h, w) i64.
fn codes_per_picture(tokens: &Tensor) -> f64 {
    let distinct = |i: i64| {
        let mut codes: Vec<i64> = Vec::try_from(tokens.get(i).flatten(0, -1)).unwrap_or_default();
        codes.sort_unstable();
        codes.dedup();
        codes.len() as f64
    };
    let count = tokens.size()[0];
    (0..count).map(distinct).sum::<f64>() / count.max(1) as f64
}
