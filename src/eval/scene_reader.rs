//! Reads a scene from its picture, by rule and without a network: which ground, which objects, how large, where.
//!
//! Ground: the colour that most pixels are nearest to. Objects: pixels nearer to a colour of the world than to the ground,
//! joined where they touch. Shape, size and place: the drawn shape that covers an object's pixels best.
//!
//! Units: pixels of a picture of 64 a side.

use crate::data::scenes::draw::draw;
use crate::data::scenes::world::{Colour, Ground, Object, SIDE, Scene, Shape, Size};

const N: i32 = SIDE;
const PIXELS: usize = (SIDE * SIDE) as usize;
/// Smaller patches are noise: the smallest object has 100 pixels.
const LEAST: usize = 30;
/// Intersection over union below which an object has none of the world's shapes.
const LIKE: f64 = 0.6;
/// Pixels that a shape is moved to and fro to cover an object best.
const MOVE: i32 = 2;

/// An object as it was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// None: it looks like none of them.
    pub shape: Option<Shape>,
    pub colour: Colour,
    pub size: Size,
    pub x: i32,
    pub y: i32,
    /// Intersection over union with the shape it looks like most, 0..=1.
    pub likeness: f64,
}

/// A picture as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub ground: Ground,
    pub objects: Vec<Seen>,
}

impl Seen {
    /// As an object of the world; a shape that was not recognised counts as a circle here.
    pub fn object(&self) -> Object {
        let Self { shape, colour, size, x, y, .. } = *self;
        Object { shape: shape.unwrap_or(Shape::Circle), colour, size, x, y }
    }
}

/// True at the pixels of one thing, row by row. Covers are alike, but say how much.
type Mask = Vec<bool>;

/// A drawn shape to compare with.
struct Template {
    shape: Shape,
    size: Size,
    /// Pixels from the centre (dx, dy) that it covers at all, and how much of each, 0..=1.
    covered: Vec<(i32, i32, f64)>,
    /// Sum of what it covers, in pixels.
    area: f64,
    /// Middle of its bounds, from the centre: a triangle's lies above.
    middle: (i32, i32),
}

/// Knows the drawn shapes.
pub struct SceneReader {
    templates: Vec<Template>,
}

impl Default for SceneReader {
    fn default() -> Self {
        Self::new()
    }
}

impl SceneReader {
    pub fn new() -> Self {
        let sizes = |&shape: &Shape| Size::ALL.iter().map(move |&size| Template::new(shape, size));
        Self { templates: Shape::ALL.iter().flat_map(sizes).collect() }
    }

    /// Read RGB bytes of 64 x 64 pixels, row by row; missing ones are black.
    pub fn read(&self, rgb: &[u8]) -> Reading {
        let pixels: Vec<[f64; 3]> = (0..PIXELS)
            .map(|i| [0, 1, 2].map(|c| f64::from(rgb.get(3 * i + c).copied().unwrap_or(0))))
            .collect();
        let ground = ground(&pixels);
        let base = ground.rgb().map(f64::from);
        let colours: Vec<Option<Colour>> = pixels.iter().map(|p| colour_on(p, &base)).collect();
        let mut objects = Vec::new();
        for whole in patches(&colours.iter().map(Option::is_some).collect()) {
            for (colour, mask) in one_colour_each(&whole, &colours, &pixels) {
                let cover = cover(&pixels, &mask, &colours, (&base, colour));
                objects.extend(self.name(colour, &mask, &cover));
            }
        }
        Reading { ground, objects }
    }

    /// The shape that is most like the object's cover, near the middle of its mask.
    fn name(&self, colour: Colour, mask: &Mask, cover: &[f64]) -> Option<Seen> {
        let area: f64 = cover.iter().sum();
        let (x, y, extent) = bounds(mask)?;
        let limit = (Size::Small.span() + Size::Large.span()) / 2 - 2;
        let size = if extent > limit { Size::Large } else { Size::Small };
        let mut best: Option<Seen> = None;
        for template in self.templates.iter().filter(|t| t.size == size) {
            let start = (x - template.middle.0, y - template.middle.1);
            for (dx, dy) in (-MOVE..=MOVE).flat_map(|dy| (-MOVE..=MOVE).map(move |dx| (dx, dy))) {
                let (x, y) = (start.0 + dx, start.1 + dy);
                let likeness = template.likeness(cover, area, x, y);
                if best.is_none_or(|seen| likeness > seen.likeness) {
                    let shape = Some(template.shape);
                    best = Some(Seen { shape, colour, size, x, y, likeness });
                }
            }
        }
        best.map(|seen| Seen { shape: seen.shape.filter(|_| seen.likeness >= LIKE), ..seen })
    }
}

impl Template {
    fn new(shape: Shape, size: Size) -> Self {
        let (centre, colour, ground) = (N / 2, Colour::Red, Ground::Snow);
        let object = Object { shape, colour, size, x: centre, y: centre };
        let drawn = draw(&Scene { ground, objects: vec![object] }, N as u32).unwrap_or_default();
        // green tells red from snow
        let (full, none) = (f64::from(colour.rgb()[1]), f64::from(ground.rgb()[1]));
        let cover: Vec<f64> =
            drawn.chunks_exact(3).map(|rgb| (none - f64::from(rgb[1])) / (none - full)).collect();
        let mask: Mask = cover.iter().map(|&c| c > 0.5).collect();
        let (x, y, _) = bounds(&mask).unwrap_or((centre, centre, 0));
        let at = |(i, &c): (usize, &f64)| (i as i32 % N - centre, i as i32 / N - centre, c);
        let covered: Vec<_> = cover.iter().enumerate().map(at).filter(|p| p.2 > 0.0).collect();
        let area = covered.iter().map(|p| p.2).sum();
        Self { shape, size, covered, area, middle: (x - centre, y - centre) }
    }

    /// Intersection over union with a cover whose sum is `area`, when the shape's centre is at (x, y).
    fn likeness(&self, cover: &[f64], area: f64, x: i32, y: i32) -> f64 {
        let both = |&(dx, dy, c): &(i32, i32, f64)| {
            let (u, v) = (x + dx, y + dy);
            let inside = (0..N).contains(&u) && (0..N).contains(&v);
            if inside { c.min(cover[(v * N + u) as usize]) } else { 0.0 }
        };
        let both: f64 = self.covered.iter().map(both).sum();
        both / (area + self.area - both).max(1.0)
    }
}

/// How much of each pixel an object covers, 0..=1: its own pixels, and what mixes with it around them.
fn cover(
    pixels: &[[f64; 3]],
    mask: &Mask,
    colours: &[Option<Colour>],
    (base, colour): (&[f64; 3], Colour),
) -> Vec<f64> {
    let rgb = colour.rgb().map(f64::from);
    let share = |i: usize| {
        let (x, y) = (i as i32 % N, i as i32 / N);
        let near = (-2..=2).any(|v| (-2..=2).any(|u| is_on(mask, x + u, y + v)));
        // pixels of another object are none of this one
        if near && (mask[i] || colours[i].is_none()) {
            mixture(&pixels[i], base, &rgb).0.clamp(0.0, 1.0)
        } else {
            0.0
        }
    };
    (0..PIXELS).map(share).collect()
}

fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// The ground that most pixels are nearest to, colours of objects being choices too.
fn ground(pixels: &[[f64; 3]]) -> Ground {
    let votes = |ground: Ground| {
        let base = ground.rgb().map(f64::from);
        let is_nearest = |p: &&[f64; 3]| {
            let d = distance(p, &base);
            Ground::ALL.iter().all(|other| d <= distance(p, &other.rgb().map(f64::from)))
                && Colour::ALL.iter().all(|other| d <= distance(p, &other.rgb().map(f64::from)))
        };
        pixels.iter().filter(is_nearest).count()
    };
    Ground::ALL.iter().copied().max_by_key(|&ground| votes(ground)).unwrap_or(Ground::Sky)
}

/// The colour of a pixel, seen as a mixture of ground and one colour of at least half; `None` for ground.
fn colour_on(pixel: &[f64; 3], base: &[f64; 3]) -> Option<Colour> {
    let from_base = distance(pixel, base);
    let nearest = |colour: &&Colour| {
        let rgb = colour.rgb().map(f64::from);
        let (along, off) = mixture(pixel, base, &rgb);
        // off the line counts as it is; so does a mixture that is more than half ground
        off + (1.0 - along).clamp(0.0, 1.0) * 60.0
    };
    let colour = Colour::ALL.iter().min_by(|a, b| nearest(a).total_cmp(&nearest(b)))?;
    let whole = distance(&colour.rgb().map(f64::from), base);
    (from_base > 0.5 * whole).then_some(*colour)
}

/// Where a pixel lies on the line from ground (0) to colour (1), and how far beside it.
fn mixture(pixel: &[f64; 3], base: &[f64; 3], rgb: &[f64; 3]) -> (f64, f64) {
    let line: Vec<f64> = rgb.iter().zip(base).map(|(a, b)| a - b).collect();
    let out: Vec<f64> = pixel.iter().zip(base).map(|(a, b)| a - b).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let along = dot(&out, &line) / dot(&line, &line).max(1.0);
    let off: Vec<f64> = out.iter().zip(&line).map(|(o, l)| o - along.clamp(0.0, 1.0) * l).collect();
    (along, dot(&off, &off).sqrt())
}

fn is_on(mask: &Mask, x: i32, y: i32) -> bool {
    (0..N).contains(&x) && (0..N).contains(&y) && mask[(y * N + x) as usize]
}

/// Joined patches of a mask (also over corners), without the smallest.
fn patches(mask: &Mask) -> Vec<Mask> {
    let (mut left, mut found) = (mask.clone(), Vec::new());
    for start in 0..PIXELS {
        if !left[start] {
            continue;
        }
        let (mut patch, mut stack, mut area) = (vec![false; PIXELS], vec![start], 0);
        left[start] = false;
        while let Some(i) = stack.pop() {
            (patch[i], area) = (true, area + 1);
            let (x, y) = (i as i32 % N, i as i32 / N);
            for (u, v) in (-1..=1).flat_map(|v| (-1..=1).map(move |u| (x + u, y + v))) {
                if is_on(&left, u, v) {
                    left[(v * N + u) as usize] = false;
                    stack.push((v * N + u) as usize);
                }
            }
        }
        if area >= LEAST {
            found.push(patch);
        }
    }
    found
}

/// A patch by its colours: those that fill some part of it whole. Each pixel goes to the nearest of these.
fn one_colour_each(
    whole: &Mask,
    colours: &[Option<Colour>],
    pixels: &[[f64; 3]],
) -> Vec<(Colour, Mask)> {
    let fills = |colour: Colour| {
        let is =
            |x: i32, y: i32| is_on(whole, x, y) && colours[(y * N + x) as usize] == Some(colour);
        let inner = |i: &usize| {
            let (x, y) = (*i as i32 % N, *i as i32 / N);
            is(x, y) && is(x - 1, y) && is(x + 1, y) && is(x, y - 1) && is(x, y + 1)
        };
        (0..PIXELS).filter(inner).count()
    };
    let mut present: Vec<(usize, Colour)> = Colour::ALL.iter().map(|&c| (fills(c), c)).collect();
    present.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    let most = present[0];
    let mut kept: Vec<Colour> =
        present.iter().filter(|(n, _)| *n >= LEAST / 2).map(|(_, c)| *c).collect();
    if kept.is_empty() {
        kept.push(most.1);
    }
    let nearest = |i: usize| {
        let d = |c: &&Colour| distance(&pixels[i], &c.rgb().map(f64::from));
        kept.iter().min_by(|a, b| d(a).total_cmp(&d(b))).copied()
    };
    let owner: Vec<Option<Colour>> =
        (0..PIXELS).map(|i| whole[i].then(|| nearest(i)).flatten()).collect();
    let mut parts: Vec<(Colour, Mask)> = Vec::new();
    for &colour in &kept {
        let mask: Mask = owner.iter().map(|o| *o == Some(colour)).collect();
        parts.extend(patches(&mask).into_iter().map(|mask| (colour, mask)));
    }
    parts
}

/// Left, top, right and bottom.
fn corners(mask: &Mask) -> Option<[i32; 4]> {
    let on = || (0..PIXELS).filter(|&i| mask[i]).map(|i| (i as i32 % N, i as i32 / N));
    let (xs, ys) = (|| on().map(|p| p.0), || on().map(|p| p.1));
    Some([xs().min()?, ys().min()?, xs().max()?, ys().max()?])
}

/// Centre (x, y) and longer side.
fn bounds(mask: &Mask) -> Option<(i32, i32, i32)> {
    let [left, top, right, bottom] = corners(mask)?;
    Some(((left + right + 1) / 2, (top + bottom + 1) / 2, (right - left).max(bottom - top) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Part;
    use crate::data::scenes::{SceneKind, ScenesConfig};

    fn key(o: &Object) -> (i32, i32, Shape, Colour, Size) {
        (o.x, o.y, o.shape, o.colour, o.size)
    }

    /// Exactly what was drawn, in any order.
    fn is_right(reading: &Reading, scene: &Scene) -> bool {
        let sorted = |mut all: Vec<_>| {
            all.sort();
            all
        };
        let all_named = reading.objects.iter().all(|seen| seen.shape.is_some());
        all_named
            && reading.ground == scene.ground
            && sorted(reading.objects.iter().map(|s| key(&s.object())).collect())
                == sorted(scene.objects.iter().map(key).collect())
    }

    #[test]
    fn drawn_pictures_are_read_as_what_they_show() {
        let reader = SceneReader::new();
        for lattice in [8, 4, 1] {
            let config = ScenesConfig { lattice, ..ScenesConfig::default() };
            for (kind, count) in [
                (SceneKind::Ordinary, 1),
                (SceneKind::Ordinary, 2),
                (SceneKind::Ordinary, 3),
                (SceneKind::Pair, 2),
                (SceneKind::Relation, 3),
            ] {
                let mut right = 0;
                for i in 0..300 {
                    let picture = config.question(kind, count, i).expect("a scene");
                    let pixels = draw(&picture.scene, 64).expect("a size");
                    right += usize::from(is_right(&reader.read(&pixels), &picture.scene));
                }
                assert!(
                    right >= 294,
                    "{right} of 300: {kind:?}, {count} objects, lattice {lattice}"
                );
            }
        }
        assert!(ScenesConfig::default().picture(Part::Train, 0).is_ok());
    }
}
