//! A tensor as people look at it: shape and numbers, a picture where it is one, tokens where they are some.

use crate::bundle::Bundle;
use crate::html;
use image::RgbImage;
use paella::face::terminal::Terminal;
use paella::lab::desk::{floats, token_grid};
use tch::{Kind, Tensor};

/// Most rows and columns of a table of values.
const SIDE: i64 = 12;
/// Most pictures of a batch.
const PICTURES: i64 = 64;
/// The widest grid of tokens that is shown in full.
const GRID: i64 = 64;

/// Any tensor -> its forms.
pub fn bundle(tensor: &Tensor) -> Bundle {
    if !tensor.defined() {
        return Bundle::new().text("an undefined tensor");
    }
    let tensor = &tensor.detach().to_device(tch::Device::Cpu);
    let head = head(tensor);
    if is_pictures(tensor) {
        let image = pictures(tensor);
        return Bundle::new().html(html::picture(&image, &head)).png(&image).text(head);
    }
    if is_tokens(tensor) {
        let grid = token_grid(&first(tensor, 2), None, &[], &head);
        return Bundle::new().text(Terminal::plain().tokens(&grid)).html(html::tokens(&grid));
    }
    let rows = values(tensor);
    let text = rows.iter().map(|row| row.join("  ")).collect::<Vec<_>>().join("\n");
    Bundle::new().html(html::note(&head) + &html::table(&[], &rows)).text(format!("{head}\n{text}"))
}

/// `[2, 3] Float, 0 to 5, mean 2.5`.
fn head(tensor: &Tensor) -> String {
    let shape = format!("{:?} {:?}", tensor.size(), tensor.kind());
    let countable = !matches!(
        tensor.kind(),
        Kind::ComplexHalf
            | Kind::ComplexFloat
            | Kind::ComplexDouble
            | Kind::QInt8
            | Kind::QUInt8
            | Kind::QInt32
    );
    if tensor.numel() == 0 || !countable {
        return shape;
    }
    let numbers = tensor.to_kind(Kind::Double);
    let number = |t: Tensor| short(t.double_value(&[]));
    let (least, most) = (number(numbers.min()), number(numbers.max()));
    format!("{shape}, {least} to {most}, mean {}", number(numbers.mean(Kind::Double)))
}

/// (3, H, W) or (B, 3, H, W), f32 in 0..=1, as all images of this program.
fn is_pictures(tensor: &Tensor) -> bool {
    let size = tensor.size();
    let shaped = match size.as_slice() {
        [3, h, w] => *h >= 8 && *w >= 8,
        [b, 3, h, w] => *b >= 1 && *h >= 8 && *w >= 8,
        _ => false,
    };
    let inside = || tensor.min().double_value(&[]) >= 0.0 && tensor.max().double_value(&[]) <= 1.0;
    shaped && tensor.kind() == Kind::Float && inside()
}

/// (h, w) or (B, h, w) whole numbers.
fn is_tokens(tensor: &Tensor) -> bool {
    let size = tensor.size();
    let sides = &size[size.len().saturating_sub(2)..];
    (2..=3).contains(&size.len())
        && tensor.kind() == Kind::Int64
        && sides.iter().all(|side| (1..=GRID).contains(side))
        && size[0] >= 1
}

fn pictures(tensor: &Tensor) -> RgbImage {
    let batch = if tensor.dim() == 3 { tensor.unsqueeze(0) } else { tensor.shallow_clone() };
    let count = batch.size()[0].min(PICTURES);
    let images: Vec<RgbImage> =
        (0..count).map(|i| paella::image::from_tensor(&batch.get(i))).collect();
    paella::image::grid(&images, (count as f64).sqrt().ceil() as usize, 2)
}

/// The first part of a tensor that has `dims` dimensions.
fn first(tensor: &Tensor, dims: usize) -> Tensor {
    let mut part = tensor.shallow_clone();
    while part.dim() > dims {
        part = part.get(0);
    }
    part
}

/// The first rows and columns of the first matrix in it.
fn values(tensor: &Tensor) -> Vec<Vec<String>> {
    if tensor.numel() == 0 || tensor.is_sparse() {
        return Vec::new();
    }
    let matrix = match tensor.dim() {
        0 => tensor.view([1, 1]),
        1 => tensor.unsqueeze(0),
        _ => first(tensor, 2),
    };
    let (h, w) = (matrix.size()[0], matrix.size()[1]);
    let row = |i: i64| -> Vec<String> {
        let cells = floats(&matrix.get(i).narrow(0, 0, w.min(SIDE)));
        let more = (w > SIDE).then(|| "…".to_string());
        cells.into_iter().map(short).chain(more).collect()
    };
    let more = (h > SIDE).then(|| vec!["…".to_string()]);
    (0..h.min(SIDE)).map(row).chain(more).collect()
}

/// Four digits that matter.
fn short(x: f64) -> String {
    match x.abs() {
        _ if x == x.trunc() && x.abs() < 1e9 => format!("{x}"),
        size if (1e-3..1e5).contains(&size) => format!("{x:.4}"),
        _ => format!("{x:.3e}"),
    }
}
