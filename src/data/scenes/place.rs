//! Making up a scene: what is in it, then where it stands.

use super::world::{Colour, Ground, Object, Relation, SIDE, Scene, Shape, Size};
use crate::data::dice::Dice;

/// Tries to place objects before others are made up.
const TRIES: usize = 8;
/// Pixels between two objects' spans, unless both are large: those just fit beside each other.
const GAP: i32 = 4;
/// Share of the relations that are `inside` or `around`.
const NESTED: f64 = 0.2;

/// Objects not yet placed, and how each but the first stands to the first.
pub struct Idea {
    pub objects: Vec<Object>,
    pub relations: Vec<Relation>,
}

impl Idea {
    /// `count` objects, any of them, two never alike in shape and colour.
    pub fn new(count: usize, dice: &mut Dice) -> Self {
        let mut objects: Vec<Object> = Vec::new();
        while objects.len() < count {
            let object = any_object(dice);
            let same = |o: &Object| (o.shape, o.colour) == (object.shape, object.colour);
            if !objects.iter().any(same) {
                objects.push(object);
            }
        }
        let mut idea = Self { objects, relations: Vec::new() };
        for _ in 1..count {
            let relation = any_relation(dice);
            idea.relations.push(relation);
        }
        idea.suit(dice);
        idea
    }

    /// Give objects the sizes, and holders the shape, that their relations ask for.
    pub fn suit(&mut self, dice: &mut Dice) {
        for i in 0..self.relations.len() {
            let (outer, inner) = match self.relations[i] {
                Relation::Inside => (0, i + 1),
                Relation::Around => (i + 1, 0),
                _ => continue,
            };
            self.objects[outer].size = Size::Large;
            self.objects[inner].size = Size::Small;
            if !self.objects[outer].shape.holds() {
                let holders: Vec<Shape> =
                    Shape::ALL.iter().copied().filter(|shape| shape.holds()).collect();
                self.objects[outer].shape = dice.pick(&holders).unwrap_or(Shape::Ring);
            }
        }
    }

    /// Whether it can be drawn and described: each object in another direction, no two alike, none held by its own colour.
    pub fn is_sound(&self) -> bool {
        let alike = |a: &Object, b: &Object| (a.shape, a.colour) == (b.shape, b.colour);
        let pairs = || (0..self.objects.len()).flat_map(move |i| (0..i).map(move |j| (i, j)));
        let twins = pairs().any(|(i, j)| alike(&self.objects[i], &self.objects[j]));
        let nested = |r: &Relation| matches!(r, Relation::Inside | Relation::Around);
        let bad_nest = self.relations.iter().enumerate().any(|(i, relation)| {
            let (hub, other) = (&self.objects[0], &self.objects[i + 1]);
            let (outer, inner) =
                if *relation == Relation::Inside { (hub, other) } else { (other, hub) };
            nested(relation)
                && (outer.colour == inner.colour
                    || !outer.shape.holds()
                    || (outer.size, inner.size) != (Size::Large, Size::Small))
        });
        let several = self.relations.len() > 1;
        let same_way = several && self.relations[0] == self.relations[1];
        let both_nested = several && self.relations.iter().all(nested);
        !(twins || bad_nest || same_way || both_nested)
    }

    /// Put everything on the lattice, as the relations say, nothing over anything else.
    ///
    /// `None`: there was no room in several tries.
    pub fn place(&self, lattice: i32, ground: Ground, dice: &mut Dice) -> Option<Scene> {
        (0..TRIES).find_map(|_| {
            let mut objects: Vec<Object> = Vec::new();
            for (i, object) in self.objects.iter().enumerate() {
                let relation = i.checked_sub(1).map(|i| self.relations[i]);
                let free: Vec<Object> =
                    spots(object, lattice).filter(|spot| fits(spot, relation, &objects)).collect();
                objects.push(dice.pick(&free)?);
            }
            Some(Scene { ground, objects })
        })
    }
}

fn any_object(dice: &mut Dice) -> Object {
    Object {
        shape: dice.pick(Shape::ALL).unwrap_or(Shape::Circle),
        colour: dice.pick(Colour::ALL).unwrap_or(Colour::Red),
        size: dice.pick(Size::ALL).unwrap_or(Size::Small),
        x: 0,
        y: 0,
    }
}

fn any_relation(dice: &mut Dice) -> Relation {
    let nested = dice.chance(NESTED);
    let all = if nested { &Relation::ALL[4..] } else { &Relation::ALL[..4] };
    dice.pick(all).unwrap_or(Relation::Above)
}

/// The object at each place of the lattice.
fn spots(object: &Object, lattice: i32) -> impl Iterator<Item = Object> {
    let (object, span) = (*object, object.size.span());
    let steps = (SIDE - span) / lattice;
    let at = move |k: i32| span / 2 + k * lattice;
    (0..=steps).flat_map(move |j| (0..=steps).map(move |i| Object { x: at(i), y: at(j), ..object }))
}

/// Whether `spot` may be added: the first one of `objects` is what it is related to.
fn fits(spot: &Object, relation: Option<Relation>, objects: &[Object]) -> bool {
    let nested = matches!(relation, Some(Relation::Inside | Relation::Around));
    let apart =
        objects.iter().enumerate().all(|(i, other)| i == 0 && nested || is_apart(spot, other));
    let related = match (relation, objects.first()) {
        (Some(relation), Some(hub)) if nested => {
            (spot.x, spot.y) == (hub.x, hub.y) && Relation::between(spot, hub) == Some(relation)
        }
        (Some(relation), Some(hub)) => {
            is_clear(spot, hub) && Relation::between(spot, hub) == Some(relation)
        }
        _ => true,
    };
    apart && related
}

fn is_apart(a: &Object, b: &Object) -> bool {
    let both_large = (a.size, b.size) == (Size::Large, Size::Large);
    let least = (a.size.span() + b.size.span()) / 2 + if both_large { 0 } else { GAP };
    (a.x - b.x).abs().max((a.y - b.y).abs()) >= least
}

/// Beside each other or above each other without a doubt: at least twice as far along one axis as along the other.
fn is_clear(a: &Object, b: &Object) -> bool {
    let (dx, dy) = ((a.x - b.x).abs(), (a.y - b.y).abs());
    dx.max(dy) >= 2 * dx.min(dy)
}
