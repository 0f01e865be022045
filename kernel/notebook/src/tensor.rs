//! How a tensor is shown: shape and numbers; pictures and tokens as such.

use crate::bundle::Bundle;
use crate::html;
use crate::session::peek;
use crate::tables::short;
use image::RgbImage;
use paella::face::terminal::Terminal;
use paella::lab::workspace::{floats, token_grid};
use tch::{Kind, Tensor};

/// Most rows and columns of a table of values.
const SIDE: i64 = 12;
/// Most pictures of a batch.
const PICTURES: i64 = 64;
/// The widest grid of whole numbers that is shown in full.
const GRID: i64 = 64;

/// Any tensor -> its forms.
pub fn bundle(tensor: &Tensor) -> Bundle {
    if !tensor.defined() {
        return Bundle::new().text("an undefined tensor");
    }
    let tensor = &tensor.detach().to_device(tch::Device::Cpu);
    let head = head(tensor);
    if tensor.numel() == 0 || tensor.is_sparse() || !countable(tensor) {
        return Bundle::new().text(head);
    }
    if let Some(images) = images(tensor) {
        let image = sheet(&images);
        return Bundle::new().html(html::picture(&image, &head)).png(&image).text(head);
    }
    if is_grid(tensor) {
        let colors = peek(|lab| lab.colors_of(tensor)).flatten().unwrap_or_default();
        let grid = token_grid(&first(tensor, 2), None, &colors, head + &part_shown(tensor));
        return Bundle::new().text(Terminal::plain().tokens(&grid)).html(html::tokens(&grid));
    }
    let rows = values(tensor);
    if tensor.dim() == 0 {
        return Bundle::new().text(format!("{}  {head}", rows[0][0]));
    }
    let (head, lines) = (head + &part_shown(tensor), rows.iter().map(|row| row.join("  ")));
    let text = lines.collect::<Vec<_>>().join("\n");
    Bundle::new().html(html::note(&head) + &html::table(&[], &rows)).text(format!("{head}\n{text}"))
}

/// Whether its elements are plain numbers or booleans.
fn countable(tensor: &Tensor) -> bool {
    use Kind::*;
    matches!(
        tensor.kind(),
        Uint8 | Int8 | Int16 | Int | Int64 | Half | Float | Double | BFloat16 | Bool
    )
}

/// `[2, 3] Float, 0 to 5, mean 2.5`.
fn head(tensor: &Tensor) -> String {
    let shape = format!("{:?} {:?}", tensor.size(), tensor.kind());
    if tensor.numel() < 2 || tensor.is_sparse() || !countable(tensor) {
        return shape;
    }
    if tensor.kind() == Kind::Bool {
        let yes = tensor.sum(Kind::Int64).int64_value(&[]);
        return format!("{shape}, {yes} of {} true", tensor.numel());
    }
    let finite = tensor.isfinite();
    let odd = tensor.numel() as i64 - finite.sum(Kind::Int64).int64_value(&[]);
    let numbers = if odd > 0 { tensor.masked_select(&finite) } else { tensor.shallow_clone() };
    let odd = if odd > 0 { format!(", {odd} not finite") } else { String::new() };
    if numbers.numel() == 0 {
        return shape + &odd;
    }
    let number = |t: Tensor| short(t.double_value(&[]));
    let (least, most) = (number(numbers.min()), number(numbers.max()));
    format!("{shape}, {least} to {most}, mean {}{odd}", number(numbers.mean(Kind::Double)))
}

/// Remark that the table shows the first matrix only, if there are more.
fn part_shown(tensor: &Tensor) -> String {
    let size = tensor.size();
    let matrices: i64 = size[..size.len().saturating_sub(2)].iter().product();
    if matrices > 1 { format!("; below the first of {matrices} matrices") } else { String::new() }
}

/// The pictures (B, 3, H, W) f32 in 0..=1 of a tensor of pictures: floats in 0..=1, or bytes.
fn images(tensor: &Tensor) -> Option<Tensor> {
    let batch = match tensor.size().as_slice() {
        [3, h, w] if *h >= 8 && *w >= 8 => tensor.unsqueeze(0),
        [b, 3, h, w] if *b >= 1 && *h >= 8 && *w >= 8 => tensor.narrow(0, 0, (*b).min(PICTURES)),
        _ => return None,
    };
    let floating =
        matches!(tensor.kind(), Kind::Float | Kind::Half | Kind::BFloat16 | Kind::Double);
    match tensor.kind() {
        Kind::Uint8 => return Some(batch.to_kind(Kind::Float) / 255.0),
        _ if !floating => return None,
        _ => {}
    }
    let batch = batch.to_kind(Kind::Float);
    let inside = batch.min().double_value(&[]) >= 0.0 && batch.max().double_value(&[]) <= 1.0;
    inside.then_some(batch)
}

fn sheet(images: &Tensor) -> RgbImage {
    paella::image::square_grid(&paella::image::all_from_tensor(images), 2)
}

/// (h, w) or (B, h, w) whole numbers.
fn is_grid(tensor: &Tensor) -> bool {
    let size = tensor.size();
    let sides = &size[size.len().saturating_sub(2)..];
    (2..=3).contains(&size.len())
        && tensor.kind() == Kind::Int64
        && sides.iter().all(|side| *side <= GRID)
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
    let matrix = match tensor.dim() {
        0 => tensor.view([1, 1]),
        1 => tensor.unsqueeze(0),
        _ => first(tensor, 2),
    };
    let (h, w) = (matrix.size()[0], matrix.size()[1]);
    let truths = matrix.kind() == Kind::Bool;
    let text = |x: f64| match truths {
        true => (x != 0.0).to_string(),
        false => short(x),
    };
    let row = |i: i64| -> Vec<String> {
        let cells = floats(&matrix.get(i).narrow(0, 0, w.min(SIDE)));
        let more = (w > SIDE).then(|| "…".to_string());
        cells.into_iter().map(text).chain(more).collect()
    };
    let more = (h > SIDE).then(|| vec!["…".to_string()]);
    (0..h.min(SIDE)).map(row).chain(more).collect()
}
