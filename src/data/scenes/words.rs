//! Captions: what is said of a scene, as text in several wordings, and read back from text.
//!
//! With two or three objects, each further one is placed relative to the first, the hub:
//! `a small red star above a large blue ring on sky`, `small red star, large blue ring below it, sky`.

use super::world::{Colour, Ground, Object, Relation, Scene, Shape, Size};
use crate::data::dice::Dice;
use crate::error::{Error, Result};

/// What a caption says of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpokenObject {
    pub size: Option<Size>,
    pub colour: Option<Colour>,
    pub shape: Shape,
}

/// What a caption says. What it leaves out may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub ground: Option<Ground>,
    pub objects: Vec<SpokenObject>,
    /// Of each object but the first, how it stands to the first.
    pub relations: Vec<Option<Relation>>,
}

/// How many ways there are to say the same.
pub const WORDINGS: usize = 3;

impl Claim {
    /// Everything that can be said of a scene.
    pub fn whole(scene: &Scene) -> Self {
        let said = |o: &Object| SpokenObject {
            size: Some(o.size),
            colour: Some(o.colour),
            shape: o.shape,
        };
        Self {
            ground: Some(scene.ground),
            objects: scene.objects.iter().map(said).collect(),
            relations: (1..scene.objects.len()).map(|i| scene.relation(i)).collect(),
        }
    }

    /// The same without some parts: each size, each colour, the relations and the ground are left out with a chance of
    /// `share`, each by itself. Shapes are always said.
    pub fn without_some(mut self, share: f64, dice: &mut Dice) -> Self {
        for said in &mut self.objects {
            said.size = said.size.filter(|_| !dice.chance(share));
            said.colour = said.colour.filter(|_| !dice.chance(share));
        }
        if dice.chance(share) {
            self.relations.fill(None);
        }
        self.ground = self.ground.filter(|_| !dice.chance(share));
        self
    }

    /// As text; `wording` is 0..[`WORDINGS`].
    pub fn text(&self, wording: usize) -> String {
        let ground = self.ground.map(Ground::word);
        match (wording, ground) {
            (0, Some(ground)) => format!("{} on {ground}", self.sentence()),
            (1, Some(ground)) => format!("{}, {ground}", self.list()),
            (1, None) => self.list(),
            (2, Some(ground)) => format!("on {ground}, {}", self.sentence()),
            _ => self.sentence(),
        }
    }

    /// `a A above a B and left of a C`, or `a A, a B and a C`.
    fn sentence(&self) -> String {
        let mut text = self.objects.first().map(SpokenObject::with_article).unwrap_or_default();
        let related = self.relations.iter().all(Option::is_some);
        for (i, (said, relation)) in self.objects.iter().skip(1).zip(&self.relations).enumerate() {
            let last = i + 2 == self.objects.len();
            text += match (related, i, last) {
                (true, 0, _) => " ",
                (false, _, false) => ", ",
                _ => " and ",
            };
            if let Some(relation) = relation.filter(|_| related) {
                text += &format!("{} ", relation.inverse().word());
            }
            text += &said.with_article();
        }
        text
    }

    /// `A, B below it, C right of it`.
    fn list(&self) -> String {
        let mut parts: Vec<String> = self.objects.iter().map(SpokenObject::phrase).collect();
        for (part, relation) in parts.iter_mut().skip(1).zip(&self.relations) {
            if let Some(relation) = relation {
                *part += &format!(" {} it", relation.word());
            }
        }
        parts.join(", ")
    }

    /// What a caption of this grammar says.
    ///
    /// Errors: a word that is not of the grammar, with those that are; words in an order that it does not know.
    pub fn parse(caption: &str) -> Result<Self> {
        let tokens = tokens(caption);
        let mut reader = Reader { caption, ..Reader::default() };
        let mut rest = tokens.as_slice();
        while let Some((word, after)) = rest.split_first() {
            rest = reader.take(word, after)?;
        }
        reader.finish()
    }
}

impl SpokenObject {
    /// `small red star`.
    fn phrase(&self) -> String {
        let words =
            [self.size.map(Size::word), self.colour.map(Colour::word), Some(self.shape.word())];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    fn with_article(&self) -> String {
        let phrase = self.phrase();
        let vowel = phrase.starts_with(['a', 'e', 'i', 'o', 'u']);
        format!("{} {phrase}", if vowel { "an" } else { "a" })
    }
}

/// Words and commas, in lower case, without articles.
fn tokens(caption: &str) -> Vec<String> {
    let spaced = caption.to_lowercase().replace(',', " , ").replace('.', " ");
    let words = spaced.split_whitespace().filter(|word| !["a", "an", "the"].contains(word));
    words.map(String::from).collect()
}

/// A caption on its way into a claim.
#[derive(Default)]
struct Reader<'a> {
    caption: &'a str,
    ground: Option<Ground>,
    objects: Vec<SpokenObject>,
    relations: Vec<Option<Relation>>,
    size: Option<Size>,
    colour: Option<Colour>,
    /// How the first object stands to the one that comes next.
    relation: Option<Relation>,
    /// The word before, which tells whether a relation may follow.
    joined: bool,
}

impl Reader<'_> {
    /// Read one word, with as many of those after it as belong to it; gives what is left.
    fn take<'t>(&mut self, word: &str, after: &'t [String]) -> Result<&'t [String]> {
        let joined = std::mem::replace(&mut self.joined, word == "and");
        if let Some((relation, after)) = relation(word, after) {
            return self.relate(relation, joined, after);
        }
        let next_is_ground = || after.first().is_some_and(|word| Ground::from_word(word).is_some());
        if let Some(shape) = Shape::from_word(word) {
            self.object(shape);
        } else if let Some(size) = Size::from_word(word).filter(|_| self.size.is_none()) {
            self.size = Some(size);
        } else if let Some(colour) = Colour::from_word(word).filter(|_| self.colour.is_none()) {
            self.colour = Some(colour);
        } else if let Some(ground) = Ground::from_word(word).filter(|_| self.ground.is_none()) {
            self.ground = Some(ground);
        } else if !(word == "," || word == "and" || word == "on" && next_is_ground()) {
            return Err(self.fault(word));
        }
        Ok(after)
    }

    fn object(&mut self, shape: Shape) {
        let said = SpokenObject { size: self.size.take(), colour: self.colour.take(), shape };
        if !self.objects.is_empty() {
            self.relations.push(self.relation.take().map(Relation::inverse));
        }
        self.objects.push(said);
    }

    /// `above it`, of the object before; or `above` an object to come, of the first one.
    fn relate<'t>(
        &mut self,
        relation: Relation,
        joined: bool,
        after: &'t [String],
    ) -> Result<&'t [String]> {
        if after.first().is_some_and(|word| word == "it") {
            return match self.relations.last_mut() {
                Some(last) if last.is_none() => {
                    *last = Some(relation);
                    Ok(&after[1..])
                }
                _ => Err(self.fault("it")),
            };
        }
        let of_first = self.objects.len() == 1 || self.objects.len() > 1 && joined;
        if !of_first || self.relation.is_some() || after.is_empty() {
            return Err(self.fault(relation.word()));
        }
        self.relation = Some(relation);
        Ok(after)
    }

    fn finish(self) -> Result<Claim> {
        let open = self.size.is_some() || self.colour.is_some() || self.relation.is_some();
        if open || !(1..=3).contains(&self.objects.len()) {
            let what = format!("\"{}\" names no whole objects, one to three", self.caption);
            return Err(Error::data(
                what,
                "the caption",
                "a small red star above a large blue ring on sky",
            ));
        }
        Ok(Claim { ground: self.ground, objects: self.objects, relations: self.relations })
    }

    fn fault(&self, word: &str) -> Error {
        let known = vocabulary().map(|words| words.join(", "));
        let what = format!("`{word}` is not understood in \"{}\"", self.caption);
        Error::data(what, "the caption", format!("the words are {}", known.join("; ")))
    }
}

/// All words that say something: shapes, colours, sizes, relations, grounds.
pub fn vocabulary() -> [Vec<&'static str>; 5] {
    [
        Shape::ALL.iter().map(|w| w.word()).collect(),
        Colour::ALL.iter().map(|w| w.word()).collect(),
        Size::ALL.iter().map(|w| w.word()).collect(),
        Relation::ALL.iter().map(|w| w.word()).collect(),
        Ground::ALL.iter().map(|w| w.word()).collect(),
    ]
}

/// A relation that begins with this word, and what follows it.
fn relation<'t>(word: &str, after: &'t [String]) -> Option<(Relation, &'t [String])> {
    if let Some(relation) = Relation::from_word(word) {
        return Some((relation, after));
    }
    let (of, rest) = after.split_first()?;
    Relation::from_word(&format!("{word} {of}")).map(|relation| (relation, rest))
}
