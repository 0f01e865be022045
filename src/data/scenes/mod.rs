//! Scenes: a world of shapes small enough to be mastered. Pictures and captions are made up by number, without end and
//! without a file: picture `i` of seed `s` is the same on every machine.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`world`] | shapes, colours, sizes, relations, grounds |
//! | [`place`] | which objects, and where |
//! | [`draw`] | a scene as pixels |
//! | [`words`] | a scene as a caption, and back |

pub mod draw;
pub mod place;
pub mod words;
pub mod world;

use super::dice::Dice;
use super::threads::{processors, side_by_side};
use super::{Dataset, Part, Record, Skipped};
use crate::error::{Error, Fault, Result};
use place::Idea;
use ron_faults::Checks;
use serde::{Deserialize, Serialize};
use tch::Tensor;
use words::{Claim, WORDINGS};
use world::{Colour, Ground, Object, Relation, Scene, Shape};

/// Pictures of a data set in memory, where the config sets no limit.
const LIMIT: usize = 512;
/// Pictures for which a thread is worth its start.
const SHARE: usize = 16;
/// Scenes made up before the config is found to leave too few.
const TRIES: usize = 10_000;

/// Which scenes are made up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScenesConfig {
    /// Another seed, other pictures.
    pub seed: u64,
    /// Shares of the pictures with one, two and three objects; one to three numbers, at least 0.
    pub objects: Vec<f64>,
    /// Pixels between the places where objects may stand, 1..=16.
    pub lattice: i32,
    /// How often a caption leaves out a size, a colour, the relations or the background, each by itself; 0..=1.
    pub left_out: f64,
    /// Never in training: objects of this shape and colour.
    pub held_out: Vec<(Shape, Colour)>,
    /// Never in training: a shape that stands so to another one.
    pub held_out_relations: Vec<(Shape, Relation, Shape)>,
}

impl Default for ScenesConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            objects: vec![0.3, 0.45, 0.25],
            lattice: 8,
            left_out: 0.1,
            held_out: vec![
                (Shape::Circle, Colour::Purple),
                (Shape::Square, Colour::Orange),
                (Shape::Triangle, Colour::Cyan),
                (Shape::Star, Colour::Red),
                (Shape::Heart, Colour::Blue),
                (Shape::Ring, Colour::Green),
                (Shape::Cross, Colour::Pink),
                (Shape::Diamond, Colour::Yellow),
            ],
            held_out_relations: vec![
                (Shape::Star, Relation::Above, Shape::Ring),
                (Shape::Heart, Relation::LeftOf, Shape::Square),
                (Shape::Cross, Relation::Below, Shape::Circle),
                (Shape::Triangle, Relation::RightOf, Shape::Diamond),
            ],
        }
    }
}

/// Which of the world's scenes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum SceneKind {
    /// Such as training has.
    Ordinary,
    /// With a shape and colour that are held out together.
    Pair,
    /// With a relation that is held out.
    Relation,
}

impl SceneKind {
    pub const ALL: [Self; 3] = [Self::Ordinary, Self::Pair, Self::Relation];

    /// As tables name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Pair => "held-out pair",
            Self::Relation => "held-out relation",
        }
    }
}

/// A scene with its caption.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenePicture {
    pub scene: Scene,
    pub kind: SceneKind,
    /// What the caption says.
    pub claim: Claim,
    pub caption: String,
}

impl ScenesConfig {
    /// Everything that is wrong; the place of a fault is its field.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        let shares = &self.objects;
        let sum: f64 = shares.iter().sum();
        let fine = shares.iter().all(|share| (0.0..=1.0).contains(share)) && sum > 0.0;
        found.unless(
            (1..=3).contains(&shares.len()) && fine,
            "objects",
            format!("{shares:?} are not shares of pictures with one, two and three objects"),
            "such as [0.3, 0.45, 0.25]",
        );
        found.within("lattice", self.lattice.into(), 1, 16);
        found.share("left_out", self.left_out);
        let half = (Shape::ALL.len() * Colour::ALL.len() / 2) as i64;
        found.unless(
            self.held_out.len() as i64 <= half,
            "held_out",
            format!("{} pairs of {} are held out", self.held_out.len(), 2 * half),
            &format!("at most {half}, so that enough is left to train on"),
        );
        let never = self.held_out_relations.iter().find(|(a, relation, b)| match relation {
            Relation::Inside => !b.holds(),
            Relation::Around => !a.holds(),
            _ => false,
        });
        found.unless(
            never.is_none(),
            "held_out_relations",
            format!("{never:?} never occurs: nothing stands inside such a shape"),
            "only rings hold others: `(Star, Inside, Ring)`",
        );
        let count = self.held_out_relations.len();
        found.unless(
            count <= 64,
            "held_out_relations",
            format!("{count} relations are held out"),
            "at most 64",
        );
        found.faults()
    }

    /// Picture number `number` of a part: of training, always an ordinary one.
    ///
    /// Errors: a config that leaves too little to choose from.
    pub fn picture(&self, part: Part, number: u64) -> Result<ScenePicture> {
        match part {
            Part::Train => self.made(Stream::Train, number, SceneKind::Ordinary, None),
            Part::Val => {
                let held_out: Vec<SceneKind> = SceneKind::ALL
                    .into_iter()
                    .filter(|&kind| kind != SceneKind::Ordinary && self.has(kind))
                    .collect();
                let kind = match (number % 2, held_out.len() as u64) {
                    (0, _) | (_, 0) => SceneKind::Ordinary,
                    (_, n) => held_out[(number / 2 % n) as usize],
                };
                self.made(Stream::Val, number, kind, None)
            }
        }
    }

    /// Picture number `number` of those that scores are made with: of this kind, with `count` objects, all said of it.
    ///
    /// Errors: as [`ScenesConfig::picture`].
    pub fn question(&self, kind: SceneKind, count: usize, number: u64) -> Result<ScenePicture> {
        if kind == SceneKind::Relation && count < 2 {
            let what = format!("a relation of {count} object");
            return Err(Error::data(what, "the scene asked for", "at least 2 objects"));
        }
        self.made(Stream::Eval, number * 16 + kind as u64 * 4 + count as u64, kind, Some(count))
    }

    /// Whether there are scenes of this kind.
    pub fn has(&self, kind: SceneKind) -> bool {
        match kind {
            SceneKind::Ordinary => true,
            SceneKind::Pair => !self.held_out.is_empty(),
            SceneKind::Relation => {
                !self.held_out_relations.is_empty()
                    && self.objects.iter().skip(1).any(|&share| share > 0.0)
            }
        }
    }

    fn made(
        &self,
        stream: Stream,
        number: u64,
        kind: SceneKind,
        count: Option<usize>,
    ) -> Result<ScenePicture> {
        let mut dice = Dice::new(self.seed, stream as u64, number);
        // once for all tries: those with many objects fail more often
        let count = count.unwrap_or_else(|| self.count(&mut dice));
        let count = if kind == SceneKind::Relation { count.max(2) } else { count };
        for _ in 0..TRIES {
            let Some(idea) = self.idea(kind, count, &mut dice) else { continue };
            let ground = dice.pick(Ground::ALL).unwrap_or(Ground::Sky);
            let Some(scene) = idea.place(self.lattice.max(1), ground, &mut dice) else { continue };
            if self.kind(&scene) != Some(kind) {
                continue;
            }
            let claim = Claim::whole(&scene).without_some(self.left_out, &mut dice);
            let caption = claim.text(dice.below(WORDINGS));
            return Ok(ScenePicture { scene, kind, claim, caption });
        }
        let what = format!("no scene of the kind `{}` turned up in {TRIES}", kind.word());
        Err(Error::data(what, "`data.source`, Scenes", "hold out less"))
    }

    /// Objects in a picture, as often as `objects` says.
    fn count(&self, dice: &mut Dice) -> usize {
        let mut at = dice.unit() * self.objects.iter().sum::<f64>();
        for (i, share) in self.objects.iter().enumerate() {
            if at < *share {
                return i + 1;
            }
            at -= share;
        }
        1
    }

    /// Objects. One or two of them are as the kind asks.
    fn idea(&self, kind: SceneKind, count: usize, dice: &mut Dice) -> Option<Idea> {
        let mut idea = Idea::new(count, dice);
        match kind {
            SceneKind::Ordinary => {}
            SceneKind::Pair => {
                let i = dice.below(count);
                let (shape, colour) = dice.pick(&self.held_out)?;
                idea.objects[i] = Object { shape, colour, ..idea.objects[i] };
            }
            SceneKind::Relation => {
                let (a, relation, b) = dice.pick(&self.held_out_relations)?;
                // seen from the first object, or from the other
                let swap = dice.chance(0.5);
                let (hub, other) = if swap { (a, b) } else { (b, a) };
                let relation = if swap { relation.inverse() } else { relation };
                idea.objects.get_mut(1)?.shape = other;
                idea.objects[0].shape = hub;
                idea.relations[0] = relation;
                idea.suit(dice);
            }
        }
        idea.is_sound().then_some(idea)
    }

    /// What a scene is; `None`: both a pair and a relation of it are held out.
    pub fn kind(&self, scene: &Scene) -> Option<SceneKind> {
        let pair = scene.objects.iter().any(|o| self.held_out.contains(&(o.shape, o.colour)));
        let hub = &scene.objects[0];
        let relation = scene.objects.iter().skip(1).any(|other| {
            Relation::between(other, hub).is_some_and(|relation| {
                self.held_out_relations.contains(&(other.shape, relation, hub.shape))
                    || self.held_out_relations.contains(&(
                        hub.shape,
                        relation.inverse(),
                        other.shape,
                    ))
            })
        });
        match (pair, relation) {
            (false, false) => Some(SceneKind::Ordinary),
            (true, false) => Some(SceneKind::Pair),
            (false, true) => Some(SceneKind::Relation),
            (true, true) => None,
        }
    }
}

/// Pictures for different ends have nothing to do with each other.
#[derive(Clone, Copy)]
enum Stream {
    Train,
    Val,
    Eval,
}

/// Pictures `first..first + count` of a part: (count, 3, size, size) u8 on the CPU, and what they show.
///
/// Errors: a config that leaves too little to choose from; a size that no picture can have.
pub fn pictures(
    config: &ScenesConfig,
    part: Part,
    size: i64,
    first: u64,
    count: usize,
) -> Result<(Tensor, Vec<ScenePicture>)> {
    let numbers: Vec<u64> = (first..first + count as u64).collect();
    let made = side_by_side(&numbers, threads(count), |&i| config.picture(part, i));
    let all = made.into_iter().collect::<Result<Vec<_>>>()?;
    Ok((drawn(&all, size)?, all))
}

/// (B, 3, size, size) u8 on the CPU.
///
/// Errors: a size that no picture can have.
pub fn drawn(pictures: &[ScenePicture], size: i64) -> Result<Tensor> {
    let side = u32::try_from(size).ok();
    let drawn = side_by_side(pictures, threads(pictures.len()), |picture| {
        side.and_then(|side| draw::draw(&picture.scene, side)).ok_or_else(|| {
            Error::data(format!("pictures of {size} pixels a side"), "`data.size`", "64")
        })
    });
    let pixels = drawn.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let shape = [pictures.len() as i64, size, size, 3];
    Ok(Tensor::f_from_slice(&pixels)?.f_view(shape)?.permute([0, 3, 1, 2]).contiguous())
}

/// Threads for this number of pictures.
fn threads(pictures: usize) -> usize {
    processors().min(pictures / SHARE)
}

/// The first pictures of a part, `limit` or 512, those that pass `keep`.
///
/// Errors: as [`pictures`]; none passes.
pub fn dataset(
    config: &ScenesConfig,
    part: Part,
    size: i64,
    limit: Option<usize>,
    keep: impl Fn(&Record) -> bool,
) -> Result<Dataset> {
    let (limit, mut records, mut kept) = (limit.unwrap_or(LIMIT), Vec::new(), Vec::new());
    for number in 0..TRIES.max(limit) as u64 {
        let picture = config.picture(part, number)?;
        let record = record(&picture, part, number);
        if keep(&record) {
            records.push(record);
            kept.push(picture);
        }
        if records.len() == limit {
            break;
        }
    }
    if records.is_empty() {
        let what = "no picture is left: the groups and styles of the config leave none";
        return Err(Error::data(what, "`data.groups`, `data.styles`", GROUPS));
    }
    Ok(Dataset { images: drawn(&kept, size)?, records, skipped: Skipped::default() })
}

/// The words of `Scene::count_word`.
pub const STYLES: [&str; 3] = ["1 object", "2 objects", "3 objects"];

const GROUPS: &str =
    "groups are `ordinary`, `held-out pair`, `held-out relation`; styles `1 object` to `3 objects`";

fn record(picture: &ScenePicture, part: Part, number: u64) -> Record {
    let first = &picture.scene.objects[0];
    let split = match (part, picture.kind) {
        (Part::Train, _) => "train",
        (Part::Val, SceneKind::Ordinary) => "val",
        (Part::Val, _) => "val-held-out",
    };
    Record {
        key: format!("scene-{}-{number:06}", if part == Part::Train { "train" } else { "val" }),
        caption: picture.caption.clone(),
        name: format!("{} {}", first.colour.word(), first.shape.word()),
        style: picture.scene.count_word().into(),
        group: picture.kind.word().into(),
        split: split.into(),
        ..Record::default()
    }
}
