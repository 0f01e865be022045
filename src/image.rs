//! Pictures: conversion between files, RGB and tensors; grids; saving.
//!
//! A tensor of one picture is (3, H, W) f32 in 0..=1, on the CPU unless noted.

pub mod film;
mod judge;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fast_image_resize::FilterType::Lanczos3;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{
    DynamicImage, ImageDecoder, ImageFormat, ImageReader, Rgb, RgbImage, RgbaImage, imageops,
};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result, files};

/// Maximum size of a decoded picture: 512 MiB of pixels.
const MAX_BYTES: u64 = 512 << 20;

/// Maximum length of a picture's file: 256 MiB.
const LONGEST: u64 = 256 << 20;

const WHITE: Rgb<u8> = Rgb([255, 255, 255]);

/// Decodes a picture file -> RGB. PNG, WebP, JPEG, GIF (first frame), BMP or PNM, detected by content. Transparent
/// pixels are blended with white, and the EXIF orientation is applied.
///
/// Errors: not one of these formats, damaged, or more than 512 MiB of pixels.
pub fn decode(bytes: &[u8]) -> Result<RgbImage> {
    // Decoders receive arbitrary bytes. A panic inside one is treated as a damaged picture, so that the run continues.
    let outcome = catch_unwind(AssertUnwindSafe(|| decode_any(bytes)));
    let picture = outcome.unwrap_or_else(|_| Err("its decoder gave up".into()));
    picture.map_err(|why| Error::data(format!("the picture cannot be decoded: {why}"), "", FORMATS))
}

const FORMATS: &str = "PNG, WebP, JPEG, GIF, BMP and PNM are read";

fn decode_any(bytes: &[u8]) -> std::result::Result<RgbImage, String> {
    if let Some(kind) = judge::kind_without_decoder(bytes) {
        return Err(format!("no decoder for {kind} pictures"));
    }
    // the decoder fills the missing part of a JPEG with grey
    if bytes.starts_with(&[0xff, 0xd8]) && !judge::jpeg_is_whole(bytes) {
        return Err("the JPEG ends early".into());
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut decoder =
        reader.map_err(|e| e.to_string())?.into_decoder().map_err(|e| e.to_string())?;
    if decoder.total_bytes() > MAX_BYTES {
        let ((w, h), mib) = (decoder.dimensions(), decoder.total_bytes() >> 20);
        return Err(format!(
            "{w} x {h} pixels fill {mib} MiB, at most {} are read",
            MAX_BYTES >> 20
        ));
    }
    if decoder.total_bytes() == 0 {
        return Err("it has no pixel".into());
    }
    let turn = decoder.orientation().map_err(|e| e.to_string())?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    picture.apply_orientation(turn);
    Ok(if picture.color().has_alpha() {
        on_white(&picture.into_rgba8())
    } else {
        picture.into_rgb8()
    })
}

/// `alpha * colour + (1 - alpha) * white`, rounded.
fn on_white(picture: &RgbaImage) -> RgbImage {
    let blend = |colour: u8, alpha: u8| {
        let (c, a) = (u32::from(colour), u32::from(alpha));
        ((c * a + 255 * (255 - a) + 127) / 255) as u8
    };
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, a] = picture.get_pixel(x, y).0;
        Rgb([blend(r, a), blend(g, a), blend(b, a)])
    })
}

/// Reads and decodes a picture file, as [`decode`].
///
/// Errors: the file cannot be read, or as [`decode`]; both name the file.
pub fn load(path: &Path) -> Result<RgbImage> {
    let place = path.display().to_string();
    let bytes = files::read_up_to(path, LONGEST)
        .map_err(|e| Error::data(format!("cannot read the picture: {e}"), place.clone(), ""))?;
    decode(&bytes).map_err(|error| {
        let fault = &error.faults()[0];
        Error::data(fault.what.clone(), place, fault.hint.clone())
    })
}

/// Crops the middle square of a picture and resizes it to `size` x `size` pixels. If `size` divides the side, a pixel
/// is the exact mean of a block; else Lanczos is used.
pub fn fit(img: &RgbImage, size: u32) -> RgbImage {
    fit_to(img, (size, size))
}

/// As [`fit`], for the square that begins `x` pixels from the left and `y` from the top. Its side is the picture's
/// shorter side, so `x` or `y` is 0.
pub fn fit_at(img: &RgbImage, size: u32, (x, y): (u32, u32)) -> RgbImage {
    let side = img.width().min(img.height());
    resized(imageops::crop_imm(img, x, y, side, side).to_image(), (size, size))
}

/// The largest part of a picture of `own` pixels, from its middle, that has the shape of `w` x `h`: left, top, width, height.
pub fn middle(own: (u32, u32), (w, h): (u32, u32)) -> [u32; 4] {
    let scaled = |side: u32, a: u32, b: u32| {
        (u64::from(side) * u64::from(a) / u64::from(b.max(1))).max(1) as u32 // fits: at most the other side
    };
    let is_wide = u64::from(own.0) * u64::from(h) > u64::from(own.1) * u64::from(w);
    let (part_w, part_h) =
        if is_wide { (scaled(own.1, w, h), own.1) } else { (own.0, scaled(own.0, h, w)) };
    [(own.0 - part_w.min(own.0)) / 2, (own.1 - part_h.min(own.1)) / 2, part_w, part_h]
}

/// As [`fit`], to another shape: the [`middle`] of that shape, resized to `w` x `h` pixels.
pub fn fit_to(img: &RgbImage, (w, h): (u32, u32)) -> RgbImage {
    let [x, y, part_w, part_h] = middle(img.dimensions(), (w, h));
    resized(imageops::crop_imm(img, x, y, part_w, part_h).to_image(), (w, h))
}

/// A picture at another size: the mean of each block if `w` and `h` are whole parts of its sides, else by Lanczos. White if there
/// is no pixel.
fn resized(img: RgbImage, (w, h): (u32, u32)) -> RgbImage {
    let own = img.dimensions();
    let n = own.0.checked_div(w).unwrap_or_default();
    match own {
        _ if own == (w, h) => img,
        _ if img.is_empty() || w == 0 || h == 0 => RgbImage::from_pixel(w, h, WHITE),
        _ if (2..=64).contains(&n) && own == (n * w, n * h) => block_means(&img, n),
        _ => resize(&img, (w, h)),
    }
}

/// Resizes the whole picture to `size` x `size` pixels, ignoring its aspect ratio.
pub fn squeeze(img: &RgbImage, size: u32) -> RgbImage {
    resize(img, (size, size))
}

fn resize(img: &RgbImage, (w, h): (u32, u32)) -> RgbImage {
    let (mut to, kind) = (RgbImage::new(w, h), PixelType::U8x3);
    let from = ImageRef::new(img.width(), img.height(), img.as_raw(), kind);
    let from = from.expect("three bytes for every pixel");
    let mut into = Image::from_slice_u8(w, h, &mut to, kind).expect("as many");
    let lanczos = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(Lanczos3));
    Resizer::new().resize(&from, &mut into, &lanczos).expect("of one kind");
    to
}

/// The rounded mean of each block of `n` x `n` pixels. `n` is at most 64, so that the sums fit.
fn block_means(img: &RgbImage, n: u32) -> RgbImage {
    let (w, h) = (img.width() / n, img.height() / n);
    let mut sums = vec![0u32; (w * h * 3) as usize];
    for (y, row) in img.as_raw().chunks_exact((w * n * 3) as usize).enumerate() {
        let start = y / n as usize * w as usize * 3;
        let sums = &mut sums[start..start + w as usize * 3];
        for (sum, block) in sums.chunks_exact_mut(3).zip(row.chunks_exact(3 * n as usize)) {
            for pixel in block.chunks_exact(3) {
                sum.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u32::from(value));
            }
        }
    }
    let area = n * n;
    let means = sums.into_iter().map(|sum| ((sum + area / 2) / area) as u8).collect();
    RgbImage::from_raw(w, h, means).expect("three channels a pixel")
}

/// (H, W) RGB -> (3, H, W) f32 in 0..=1.
pub fn to_tensor(img: &RgbImage) -> Tensor {
    let (w, h) = img.dimensions();
    let pixels = Tensor::from_slice(img.as_raw()).view([i64::from(h), i64::from(w), 3]);
    pixels.permute([2, 0, 1]).to_kind(Kind::Float).contiguous() / 255.0
}

/// (3, H, W) of any float kind and device -> RGB, clamped to 0..=1. NaN becomes black.
pub fn from_tensor(t: &Tensor) -> RgbImage {
    let (_, h, w) = t.size3().expect("a picture is (3, H, W)");
    let bytes: Tensor = (t.detach().to_device(Device::Cpu).to_kind(Kind::Float) * 255.0)
        .nan_to_num(0.0, 255.0, 0.0)
        .round()
        .clamp(0.0, 255.0)
        .to_kind(Kind::Uint8)
        .permute([1, 2, 0])
        .contiguous()
        .view([-1]);
    let mut pixels = vec![0u8; bytes.numel()];
    bytes.copy_data(&mut pixels, bytes.numel());
    RgbImage::from_raw(w as u32, h as u32, pixels).expect("a picture has three channels")
}

/// Images (B, 3, H, W) -> B pictures, each converted as in [`from_tensor`].
pub fn all_from_tensor(images: &Tensor) -> Vec<RgbImage> {
    (0..images.size()[0]).map(|i| from_tensor(&images.get(i))).collect()
}

/// Arranges pictures in rows of `columns`, with `gap` white pixels between them. A cell is as large as the largest
/// picture.
pub fn grid(images: &[RgbImage], columns: usize, gap: u32) -> RgbImage {
    let columns = columns.clamp(1, images.len().max(1)) as u32;
    let rows = (images.len() as u32).div_ceil(columns);
    let w = images.iter().map(RgbImage::width).max().unwrap_or(1);
    let h = images.iter().map(RgbImage::height).max().unwrap_or(1);
    let side = |cell: u32, n: u32| (cell * n + gap * n.saturating_sub(1)).max(1);
    let mut sheet = RgbImage::from_pixel(side(w, columns), side(h, rows), WHITE);
    for (i, img) in images.iter().enumerate() {
        let (x, y) = (i as u32 % columns * (w + gap), i as u32 / columns * (h + gap));
        image::imageops::replace(&mut sheet, img, x.into(), y.into());
    }
    sheet
}

/// A sheet of pictures, about as many in a row as in a column.
pub fn square_grid(images: &[RgbImage], gap: u32) -> RgbImage {
    grid(images, (images.len() as f64).sqrt().ceil() as usize, gap)
}

/// Enlarges each pixel to a square of `factor` x `factor`. 0 counts as 1.
pub fn enlarge(img: &RgbImage, factor: u32) -> RgbImage {
    let factor = factor.max(1);
    RgbImage::from_fn(img.width() * factor, img.height() * factor, |x, y| {
        *img.get_pixel(x / factor, y / factor)
    })
}

/// The format that a file's extension names.
///
/// Errors: none that can be written.
pub fn format_of(path: &Path) -> Result<ImageFormat> {
    ImageFormat::from_path(path).ok().filter(ImageFormat::writing_enabled).ok_or_else(|| {
        let what = "no picture format goes with this file name";
        Error::data(what, path.display().to_string(), "end the name with .png")
    })
}

/// Writes a picture in the format of its extension (`.png`, `.webp`, `.jpg`, `.gif`, `.bmp`, `.ppm`). Creates missing
/// folders. The file appears complete or not at all.
///
/// Errors: unknown extension; a disk error; `path` exists and is not a regular file.
pub fn save(img: &RgbImage, path: &Path) -> Result<()> {
    let place = path.display().to_string();
    let format = format_of(path)?;
    let fail = |e: String| Error::data(format!("cannot save the picture: {e}"), place.clone(), "");
    let mut bytes = Cursor::new(Vec::new());
    img.write_to(&mut bytes, format).map_err(|e| fail(e.to_string()))?;
    crate::files::write(path, bytes.get_ref()).map_err(|e| fail(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn ramp(w: u32, h: u32) -> RgbImage {
        RgbImage::from_fn(w, h, |x, y| Rgb([(x * 9) as u8, (y * 7) as u8, 200]))
    }

    pub(super) fn encoded(img: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        img.write_to(&mut bytes, format).expect("memory takes it");
        bytes.into_inner()
    }

    #[test]
    fn a_tensor_gives_the_picture_back() {
        let img = ramp(5, 3);
        let t = to_tensor(&img);
        assert_eq!(t.size(), [3, 3, 5]);
        assert!((t.double_value(&[0, 0, 4]) - 36.0 / 255.0).abs() < 1e-6);
        assert_eq!(from_tensor(&t), img);
    }

    #[test]
    fn tensors_out_of_range_are_clamped() {
        let t = Tensor::from_slice(&[-1f32, 2.0, f32::NAN]).view([3, 1, 1]);
        assert_eq!(from_tensor(&t).get_pixel(0, 0).0, [0, 255, 0]);
    }

    #[test]
    fn alpha_goes_on_white() {
        let clear = RgbaImage::from_pixel(2, 2, image::Rgba([10, 20, 30, 0]));
        let half = RgbaImage::from_pixel(2, 2, image::Rgba([0, 0, 0, 128]));
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            let bytes = encoded(&clear.clone().into(), format);
            assert_eq!(decode(&bytes).expect("valid").get_pixel(1, 1), &WHITE);
        }
        let bytes = encoded(&half.into(), ImageFormat::Png);
        assert_eq!(decode(&bytes).expect("valid").get_pixel(0, 0).0, [127; 3]);
    }

    #[test]
    fn every_format_decodes() {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, WebP};
        for format in [Bmp, Gif, Jpeg, Png, Pnm, WebP] {
            let bytes = encoded(&ramp(8, 6).into(), format);
            assert_eq!(decode(&bytes).expect("valid").dimensions(), (8, 6), "{format:?}");
            // Any truncation gives an error or a picture, never a panic.
            for end in 0..bytes.len() {
                let _ = decode(&bytes[..end]);
            }
        }
        let grey =
            DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(2, 2, image::Luma([65535])));
        assert_eq!(
            decode(&encoded(&grey, ImageFormat::Png)).expect("valid").get_pixel(0, 0),
            &WHITE
        );
        assert!(decode(b"no picture").is_err());
    }

    #[test]
    fn fit_takes_the_middle_square() {
        let mut img = RgbImage::from_pixel(30, 10, Rgb([255, 0, 0]));
        (10..20).for_each(|x| (0..10).for_each(|y| img.put_pixel(x, y, Rgb([0, 0, 255]))));
        for size in [1, 5, 10, 33] {
            let square = fit(&img, size);
            assert_eq!(square.dimensions(), (size, size));
            assert!(square.pixels().all(|p| p.0 == [0, 0, 255]), "size {size}");
        }
        assert_eq!(fit(&RgbImage::new(0, 4), 3).dimensions(), (3, 3));
    }

    #[test]
    fn the_middle_has_the_shape_that_is_asked_for() {
        assert_eq!(middle((96, 64), (64, 64)), [16, 0, 64, 64]);
        assert_eq!(middle((64, 96), (96, 48)), [0, 32, 64, 32]);
        assert_eq!(middle((300, 200), (96, 64)), [0, 0, 300, 200]);
        assert_eq!(middle((1, 1000), (2048, 1)), [0, 499, 1, 1]);
        for (w, h) in [(20, 10), (10, 20), (30, 10), (7, 3), (10, 10)] {
            assert_eq!(fit_to(&ramp(30, 10), (w, h)).dimensions(), (w, h));
        }
        assert_eq!(fit_to(&ramp(30, 10), (30, 10)), ramp(30, 10));
        assert_eq!(fit_to(&ramp(30, 12), (30, 10)).get_pixel(0, 0), ramp(30, 12).get_pixel(0, 1));
    }

    #[test]
    fn whole_blocks_become_their_mean() {
        let img = RgbImage::from_fn(6, 6, |x, y| Rgb([(x * 10) as u8, (y * 10) as u8, 7]));
        assert_eq!(fit(&img, 3).get_pixel(1, 2).0, [25, 45, 7]);
        assert_eq!(fit(&img, 2).get_pixel(1, 0).0, [40, 10, 7]);
        let wide = RgbImage::from_fn(6, 4, |x, y| Rgb([(x * 10) as u8, (y * 10) as u8, 7]));
        assert_eq!(fit_to(&wide, (3, 2)).get_pixel(2, 1).0, [45, 25, 7]);
    }

    #[test]
    fn shrinking_averages_the_area() {
        let checks =
            RgbImage::from_fn(64, 64, |x, y| Rgb([if (x + y) % 2 == 0 { 0 } else { 255 }; 3]));
        assert!(fit(&checks, 8).pixels().all(|p| p.0[0].abs_diff(128) < 12));
    }

    #[test]
    fn grids_have_gaps_and_enlarging_repeats() {
        let cell = RgbImage::new(4, 4);
        let sheet = grid(&[cell.clone(), cell.clone(), cell.clone()], 2, 1);
        assert_eq!(sheet.dimensions(), (9, 9));
        assert_eq!((sheet.get_pixel(4, 0), sheet.get_pixel(8, 8)), (&WHITE, &WHITE));
        assert_eq!(sheet.get_pixel(8, 3).0, [0; 3]);
        assert_eq!(grid(&[], 0, 3).dimensions(), (1, 1));
        let big = enlarge(&ramp(2, 2), 3);
        assert_eq!(big.dimensions(), (6, 6));
        assert_eq!(big.get_pixel(5, 2), ramp(2, 2).get_pixel(1, 0));
    }

    #[test]
    fn saves_whole_files_and_names_the_trouble() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/c.png");
        save(&ramp(4, 4), &path).expect("saved");
        assert_eq!(load(&path).expect("loaded"), ramp(4, 4));
        assert_eq!(std::fs::read_dir(path.parent().expect("b")).expect("read").count(), 1);
        let error = save(&ramp(4, 4), &folder.path().join("c.xyz")).expect_err("no such format");
        assert!(error.to_string().contains(".png"), "{error}");
        let error = load(&folder.path().join("none.png")).expect_err("not there");
        assert!(error.to_string().contains("none.png"), "{error}");
    }
}
