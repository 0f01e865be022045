//! A scene as a picture: antialiased shapes of one colour each on flat ground.

use super::world::{Object, SIDE, Scene, Shape, Size};
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Transform};

/// Corners of the star, of radius 1: tips and dents in turn, clockwise from the top. Written out, since sines differ from
/// machine to machine in the last bit.
const STAR: [(f32, f32); 10] = [
    (0.0, -1.0),
    (0.2586, -0.3559),
    (0.9511, -0.309),
    (0.4185, 0.136),
    (0.5878, 0.809),
    (0.0, 0.44),
    (-0.5878, 0.809),
    (-0.4185, 0.136),
    (-0.9511, -0.309),
    (-0.2586, -0.3559),
];

/// Inner radius of the ring, of its outer one: a small object stands free inside a large ring.
const HOLE: f32 = 0.655;

/// RGB of `size` x `size` pixels, row by row. Depends on nothing but the scene.
///
/// `None`: a size that no picture can have.
pub fn draw(scene: &Scene, size: u32) -> Option<Vec<u8>> {
    let mut pixmap = Pixmap::new(size, size)?;
    let [r, g, b] = scene.ground.rgb();
    pixmap.fill(Color::from_rgba8(r, g, b, 255));
    let scale = size as f32 / SIDE as f32;
    // what holds another is drawn first
    let mut objects = scene.objects.clone();
    objects.sort_by_key(|object| std::cmp::Reverse(object.size));
    for object in &objects {
        let mut paint = Paint::default();
        let [r, g, b] = object.colour.rgb();
        paint.set_color_rgba8(r, g, b, 255);
        let path = outline(object)?;
        let transform = Transform::from_scale(scale, scale);
        pixmap.fill_path(&path, &paint, FillRule::EvenOdd, transform, None);
    }
    Some(pixmap.data().chunks_exact(4).flat_map(|rgba| [rgba[0], rgba[1], rgba[2]]).collect())
}

/// Straight sides run through whole pixels, in steps that a grid of 4 pixels repeats: so that few patches make them up.
fn outline(object: &Object) -> Option<Path> {
    let (x, y, r) = (object.x as f32, object.y as f32, object.size.radius());
    let unit = object.size.span() as f32 / 16.0; // 1 pixel of a small object, 2 of a large one
    let at = |(u, v): (f32, f32)| (x + u * r, y + v * r);
    let star = || polygon(STAR.iter().map(|&corner| at(corner)));
    let corners =
        |all: &[(f32, f32)]| polygon(all.iter().map(|&(u, v)| (x + u * unit, y + v * unit)));
    match object.shape {
        Shape::Circle => PathBuilder::from_circle(x, y, r),
        Shape::Square => corners(&[(-6.0, -6.0), (6.0, -6.0), (6.0, 6.0), (-6.0, 6.0)]),
        Shape::Triangle => corners(&[(0.0, -8.0), (6.0, 4.0), (-6.0, 4.0)]),
        Shape::Star => star(),
        Shape::Heart => heart(at),
        Shape::Ring => {
            let mut path = PathBuilder::new();
            path.push_circle(x, y, r);
            path.push_circle(x, y, HOLE * r);
            path.finish()
        }
        Shape::Cross => corners(&CROSS),
        Shape::Diamond => {
            let d = if object.size == Size::Small { 8.0 } else { 7.0 };
            corners(&[(0.0, -d), (d, 0.0), (0.0, d), (-d, 0.0)])
        }
    }
}

/// Corners of the cross, clockwise.
const CROSS: [(f32, f32); 12] = [
    (-2.0, -7.0),
    (2.0, -7.0),
    (2.0, -2.0),
    (7.0, -2.0),
    (7.0, 2.0),
    (2.0, 2.0),
    (2.0, 7.0),
    (-2.0, 7.0),
    (-2.0, 2.0),
    (-7.0, 2.0),
    (-7.0, -2.0),
    (-2.0, -2.0),
];

fn polygon(corners: impl Iterator<Item = (f32, f32)>) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (i, (x, y)) in corners.enumerate() {
        if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
    }
    path.close();
    path.finish()
}

/// Two lobes above, a point below.
fn heart(at: impl Fn((f32, f32)) -> (f32, f32)) -> Option<Path> {
    let mut path = PathBuilder::new();
    let (x, y) = at((0.0, -0.45));
    path.move_to(x, y);
    for side in [1.0f32, -1.0] {
        let points = if side > 0.0 {
            [(0.15, -1.0), (1.0, -1.1), (1.0, -0.35), (1.0, 0.2), (0.45, 0.5), (0.0, 0.95)]
        } else {
            [(-0.45, 0.5), (-1.0, 0.2), (-1.0, -0.35), (-1.0, -1.1), (-0.15, -1.0), (0.0, -0.45)]
        };
        let [a, b, c, d, e, f] = points.map(&at);
        path.cubic_to(a.0, a.1, b.0, b.1, c.0, c.1);
        path.cubic_to(d.0, d.1, e.0, e.1, f.0, f.1);
    }
    path.close();
    path.finish()
}
