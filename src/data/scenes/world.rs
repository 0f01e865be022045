//! The world of the scenes: what there is, and what may stand where.
//!
//! Units: positions are pixels of a picture of [`SIDE`] a side, x to the right, y down.

use serde::{Deserialize, Serialize};

/// Pixels a side of a picture. Other sizes are drawn to scale.
pub const SIDE: i32 = 64;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As captions name it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|each| each.word() == word)
            }
        }
    };
}

words! {
    /// What an object is.
    Shape {
        Circle => "circle", Square => "square", Triangle => "triangle", Star => "star",
        Heart => "heart", Ring => "ring", Cross => "cross", Diamond => "diamond",
    }
}

words! {
    Colour {
        Red => "red", Orange => "orange", Yellow => "yellow", Green => "green", Cyan => "cyan",
        Blue => "blue", Purple => "purple", Pink => "pink", Brown => "brown", Gray => "gray",
    }
}

words! {
    Size { Small => "small", Large => "large" }
}

words! {
    /// The colour behind all objects.
    Ground { Sky => "sky", Sand => "sand", Snow => "snow", Slate => "slate" }
}

words! {
    /// Where one object stands, seen from another.
    Relation {
        LeftOf => "left of", RightOf => "right of", Above => "above", Below => "below",
        Inside => "inside", Around => "around",
    }
}

impl Colour {
    /// sRGB, 0..=255. Any two of these and of the grounds are at least 50 apart.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [220, 30, 40],
            Self::Orange => [250, 135, 10],
            Self::Yellow => [250, 220, 0],
            Self::Green => [20, 150, 50],
            Self::Cyan => [0, 190, 195],
            Self::Blue => [35, 75, 225],
            Self::Purple => [135, 40, 175],
            Self::Pink => [255, 120, 190],
            Self::Brown => [125, 70, 25],
            Self::Gray => [135, 135, 135],
        }
    }
}

impl Ground {
    /// sRGB, 0..=255.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Sky => [175, 215, 250],
            Self::Sand => [240, 215, 165],
            Self::Snow => [248, 248, 252],
            Self::Slate => [30, 36, 56],
        }
    }
}

impl Size {
    /// Pixels that an object takes up, its margin included.
    pub fn span(self) -> i32 {
        match self {
            Self::Small => 16,
            Self::Large => 32,
        }
    }

    /// Pixels from the centre to the edge of what is drawn.
    pub fn radius(self) -> f32 {
        match self {
            Self::Small => 7.5,
            Self::Large => 14.5,
        }
    }
}

impl Shape {
    /// Whether a small object has room within a large one of this shape.
    pub fn holds(self) -> bool {
        self == Self::Ring
    }
}

impl Relation {
    /// The same, told of the other object.
    pub fn inverse(self) -> Self {
        match self {
            Self::LeftOf => Self::RightOf,
            Self::RightOf => Self::LeftOf,
            Self::Above => Self::Below,
            Self::Below => Self::Above,
            Self::Inside => Self::Around,
            Self::Around => Self::Inside,
        }
    }

    /// How `a` stands to `b`; none where it is neither clearly beside nor clearly above or below.
    pub fn between(a: &Object, b: &Object) -> Option<Self> {
        if let Some(nested) = nested(a, b) {
            return Some(nested);
        }
        let (dx, dy) = (a.x - b.x, a.y - b.y);
        match dx.abs().cmp(&dy.abs()) {
            std::cmp::Ordering::Greater if dx < 0 => Some(Self::LeftOf),
            std::cmp::Ordering::Greater => Some(Self::RightOf),
            std::cmp::Ordering::Less if dy < 0 => Some(Self::Above),
            std::cmp::Ordering::Less => Some(Self::Below),
            std::cmp::Ordering::Equal => None,
        }
    }
}

/// A small object over the middle of a large one.
fn nested(a: &Object, b: &Object) -> Option<Relation> {
    let near = (a.x - b.x).abs().max((a.y - b.y).abs()) < Size::Small.span() / 2;
    match (a.size, b.size) {
        (Size::Small, Size::Large) if near => Some(Relation::Inside),
        (Size::Large, Size::Small) if near => Some(Relation::Around),
        _ => None,
    }
}

/// One thing in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    pub shape: Shape,
    pub colour: Colour,
    pub size: Size,
    /// Of its centre.
    pub x: i32,
    pub y: i32,
}

/// What a picture shows. The first object is the one that the others are related to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scene {
    pub ground: Ground,
    /// One to three.
    pub objects: Vec<Object>,
}

impl Scene {
    /// How object `i` stands to the first one.
    pub fn relation(&self, i: usize) -> Option<Relation> {
        Relation::between(&self.objects[i], &self.objects[0])
    }

    /// How many objects, as a word.
    pub fn count_word(&self) -> &'static str {
        ["no object", "1 object", "2 objects", "3 objects"][self.objects.len().min(3)]
    }
}
