//! Plots for the run folder: one look for all of them, drawn with plotters and the font that is built in.

use crate::error::{Error, Result};
use crate::sheet::register_font;
use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

const SIZE: (u32, u32) = (800, 480);

const INK: RGBColor = RGBColor(40, 44, 52);
const LIGHT: RGBColor = RGBColor(228, 231, 236);
const FAINT: RGBColor = RGBColor(190, 200, 216);

/// Colours of the series, told apart by colour-blind readers too (Okabe and Ito).
pub const COLORS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// One curve: its name and its points, in the units of the axes.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// The raw values behind a smoothed curve: drawn thin and without a name.
    pub faint: bool,
}

impl Series {
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, faint: false }
    }
}

/// Title and axes of a plot.
pub struct Axes<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
}

/// Curves over one pair of axes. Points that are not finite are left out.
pub fn lines(axes: &Axes, series: &[Series]) -> Result<RgbImage> {
    let finite =
        || series.iter().flat_map(|s| &s.points).filter(|p| p.0.is_finite() && p.1.is_finite());
    let x_range = range(finite().map(|p| p.0), 0.0);
    let y_range = range(finite().map(|p| p.1), 0.06);
    draw(|root| {
        let mut chart = ChartBuilder::on(root)
            .caption(axes.title, ("sans-serif", 22, &INK))
            .margin(16)
            .margin_right(32)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x_range, y_range)?;
        mesh(&mut chart, axes)?;
        let mut next = 0;
        for one in series {
            let points = one.points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite());
            if one.faint {
                chart.draw_series(LineSeries::new(points, FAINT.stroke_width(1)))?;
                continue;
            }
            let color = COLORS[next % COLORS.len()];
            next += 1;
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(&one.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                });
        }
        if next > 1 {
            chart
                .configure_series_labels()
                .background_style(WHITE.mix(0.9))
                .border_style(LIGHT)
                .label_font(("sans-serif", 14, &INK))
                .draw()?;
        }
        Ok(())
    })
}

/// Bars over whole numbers 0, 1, 2, ..: how often each code is used.
pub fn histogram(axes: &Axes, counts: &[f64]) -> Result<RgbImage> {
    let top = counts.iter().copied().filter(|y| y.is_finite()).fold(1e-9, f64::max) * 1.06;
    draw(|root| {
        let mut chart = ChartBuilder::on(root)
            .caption(axes.title, ("sans-serif", 22, &INK))
            .margin(16)
            .margin_right(32)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..counts.len().max(1) as f64, 0.0..top)?;
        mesh(&mut chart, axes)?;
        chart.draw_series(counts.iter().enumerate().filter(|(_, y)| y.is_finite()).map(
            |(i, &y)| Rectangle::new([(i as f64, 0.0), (i as f64 + 1.0, y)], COLORS[0].filled()),
        ))?;
        Ok(())
    })
}

type Drawing<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn draw(paint: impl FnOnce(&Drawing) -> std::result::Result<(), Failure>) -> Result<RgbImage> {
    register_font();
    let mut pixels = vec![255u8; (SIZE.0 * SIZE.1 * 3) as usize];
    let done = {
        let root = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
        root.fill(&WHITE)
            .map_err(Failure::from)
            .and_then(|()| paint(&root))
            .and_then(|()| root.present().map_err(Failure::from))
    };
    done.map_err(|e| Error::command(format!("could not draw the plot: {e}"), "plot", ""))?;
    Ok(RgbImage::from_raw(SIZE.0, SIZE.1, pixels).expect("three bytes for every pixel"))
}

type Chart<'a, 'b> = ChartContext<
    'a,
    BitMapBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn mesh(chart: &mut Chart, axes: &Axes) -> std::result::Result<(), Failure> {
    let label = ("sans-serif", 14, &INK).into_text_style(chart.plotting_area());
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .axis_desc_style(("sans-serif", 15, &INK))
        .label_style(label.pos(Pos::new(HPos::Center, VPos::Center)))
        .light_line_style(TRANSPARENT)
        .bold_line_style(LIGHT)
        .axis_style(FAINT)
        .x_labels(9)
        .y_labels(8)
        .x_label_formatter(&|x| label_of(*x))
        .y_label_formatter(&|y| label_of(*y))
        .draw()
        .map_err(Failure::from)
}

/// A number on an axis, without zeros that say nothing.
fn label_of(y: f64) -> String {
    let text = super::sketch::number(y);
    let plain = text.contains('.') && !text.contains('e');
    if plain { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// From the smallest to the largest, `room` more at both ends; never empty.
fn range(values: impl Iterator<Item = f64>, room: f64) -> Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), y| (l.min(y), h.max(y)));
    match (low, high) {
        (l, h) if l > h => 0.0..1.0,
        (l, h) if l == h => l - 0.5..h + 0.5,
        (l, h) => l - (h - l) * room..h + (h - l) * room,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: Axes = Axes { title: "Loss", x: "step", y: "nats" };

    #[test]
    fn draws_something_in_colour() {
        let points = (0..100).map(|i| (f64::from(i), 5.0 / (1.0 + f64::from(i)))).collect();
        let image = lines(&AXES, &[Series::new("loss", points)]).expect("a plot");
        assert_eq!(image.dimensions(), SIZE);
        let blue = image.pixels().filter(|p| p.0 == [0, 114, 178]).count();
        assert!(blue > 300, "{blue} blue pixels");
    }

    #[test]
    fn survives_odd_input() {
        let odd = vec![(0.0, f64::NAN), (f64::INFINITY, 1.0), (2.0, 3.0)];
        assert!(lines(&AXES, &[Series::new("a", odd), Series::new("b", vec![])]).is_ok());
        assert!(lines(&AXES, &[]).is_ok());
        assert!(histogram(&AXES, &[]).is_ok());
        assert!(histogram(&AXES, &[0.0, 3.0, f64::NAN]).is_ok());
    }
}
