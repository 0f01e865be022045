//! Plots as plain data, drawn as pixels or SVG with plotters and the built-in font.

use crate::error::{Error, Result};
use crate::sheet::register_font;
use image::RgbImage;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

const SIZE: (u32, u32) = (800, 480);
/// Height of the caption line below a plot.
const FOOT: u32 = 28;
/// Approximate number of pixel columns of a plot. More than two points per column cannot be distinguished.
const COLUMNS: usize = 350;

const INK: RGBColor = RGBColor(40, 44, 52);
const LIGHT: RGBColor = RGBColor(228, 231, 236);
const FAINT: RGBColor = RGBColor(190, 200, 216);

/// Colours of the series, distinguishable by colour-blind readers (Okabe and Ito).
pub const COLORS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// One curve: its name and its points, in the units of the axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Raw values behind a smoothed curve: drawn thin, without a name.
    pub faint: bool,
}

impl Series {
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, faint: false }
    }

    /// A thin curve without a name.
    pub fn faint(points: Vec<(f64, f64)>) -> Self {
        Self { name: String::new(), points, faint: true }
    }
}

/// Title and axes of a plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Axes<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
}

/// The content of a plot.
#[derive(Clone, Debug, PartialEq)]
enum Marks {
    Curves(Vec<Series>),
    /// Heights of bars over 0..1, 1..2, ..
    Bars(Vec<f64>),
}

/// A plot as plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    title: String,
    x: String,
    y: String,
    marks: Marks,
}

impl Plot {
    /// A plot of curves over one pair of axes. Points that are not finite are left out. If there are too many points to
    /// distinguish, only the minimum and maximum of each interval are kept.
    pub fn lines(axes: &Axes, series: Vec<Series>) -> Self {
        let thin = |one: Series| Series { points: thinned(&one.points), ..one };
        Self::new(axes, Marks::Curves(series.into_iter().map(thin).collect()))
    }

    /// A plot of bars over 0, 1, 2, .., such as the uses of each code.
    pub fn histogram(axes: &Axes, counts: &[f64]) -> Self {
        let finite = counts.iter().map(|y| if y.is_finite() { y.max(0.0) } else { 0.0 });
        Self::new(axes, Marks::Bars(finite.collect()))
    }

    fn new(axes: &Axes, marks: Marks) -> Self {
        let [title, x, y] = [axes.title, axes.x, axes.y].map(String::from);
        Self { title, x, y, marks }
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        SIZE
    }

    /// Draws the plot as pixels. A caption that is not empty is written below.
    ///
    /// Errors: plotters fails.
    pub fn image(&self, caption: &str) -> Result<RgbImage> {
        let mut pixels = vec![255u8; (SIZE.0 * SIZE.1 * 3) as usize];
        self.draw(BitMapBackend::with_buffer(&mut pixels, SIZE), caption)?;
        Ok(RgbImage::from_raw(SIZE.0, SIZE.1, pixels).expect("three bytes for every pixel"))
    }

    /// Draws the plot as an SVG document with real text. A caption that is not empty is written below.
    ///
    /// Errors: plotters fails.
    pub fn svg(&self, caption: &str) -> Result<String> {
        let mut svg = String::new();
        self.draw(SVGBackend::with_string(&mut svg, SIZE), caption)?;
        Ok(svg)
    }

    fn draw<B: DrawingBackend>(&self, backend: B, caption: &str) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        register_font();
        let root = backend.into_drawing_area();
        let done = self.paint(&root, caption).and_then(|()| Ok(root.present()?));
        done.map_err(|e| Error::command(format!("could not draw the plot: {e}"), "plot", ""))
    }

    fn paint<B: DrawingBackend>(&self, root: &Area<B>, caption: &str) -> Painted<()>
    where
        B::ErrorType: 'static,
    {
        root.fill(&WHITE)?;
        let area = if caption.is_empty() { root.clone() } else { with_caption(root, caption)? };
        let mut chart = self.frame(&area)?;
        match &self.marks {
            Marks::Curves(series) => curves(&mut chart, series),
            Marks::Bars(heights) => bars(&mut chart, heights),
        }
    }

    /// Draws title, axes and grid.
    fn frame<'a, B: DrawingBackend>(&self, area: &'a Area<B>) -> Painted<Chart<'a, B>>
    where
        B::ErrorType: 'static,
    {
        let (x_range, y_range) = self.ranges();
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 22, &INK))
            .margin(16)
            .margin_right(32)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x_range, y_range)?;
        let label = ("sans-serif", 14, &INK).into_text_style(chart.plotting_area());
        chart
            .configure_mesh()
            .x_desc(&self.x)
            .y_desc(&self.y)
            .axis_desc_style(("sans-serif", 15, &INK))
            .label_style(label.pos(Pos::new(HPos::Center, VPos::Center)))
            .light_line_style(TRANSPARENT)
            .bold_line_style(LIGHT)
            .axis_style(FAINT)
            .x_labels(9)
            .y_labels(8)
            .x_label_formatter(&|x| label_of(*x))
            .y_label_formatter(&|y| label_of(*y))
            .draw()?;
        Ok(chart)
    }

    fn ranges(&self) -> (Range<f64>, Range<f64>) {
        match &self.marks {
            Marks::Curves(series) => {
                let points = || series.iter().flat_map(|s| &s.points);
                (range(points().map(|p| p.0), 0.0), range(points().map(|p| p.1), 0.06))
            }
            Marks::Bars(heights) => {
                let top = heights.iter().copied().fold(1e-9, f64::max) * 1.06;
                (0.0..heights.len().max(1) as f64, 0.0..top)
            }
        }
    }
}

type Area<B> = DrawingArea<B, Shift>;
type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Painted<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Writes a line at the bottom of an area. Returns the remaining area.
fn with_caption<B: DrawingBackend>(root: &Area<B>, caption: &str) -> Painted<Area<B>>
where
    B::ErrorType: 'static,
{
    let (area, foot) = root.split_vertically((SIZE.1 - FOOT) as i32);
    let middle = Pos::new(HPos::Center, VPos::Center);
    let style = ("sans-serif", 14, &INK).into_text_style(&foot).pos(middle);
    foot.draw_text(caption, &style, (SIZE.0 as i32 / 2, FOOT as i32 / 2 - 6))?;
    Ok(area)
}

fn curves<'a, B: DrawingBackend + 'a>(chart: &mut Chart<'a, B>, series: &[Series]) -> Painted<()>
where
    B::ErrorType: 'static,
{
    let (faint, named): (Vec<_>, Vec<_>) = series.iter().partition(|one| one.faint);
    for one in faint {
        chart.draw_series(LineSeries::new(one.points.iter().copied(), FAINT.stroke_width(1)))?;
    }
    for (one, color) in named.iter().zip(COLORS.into_iter().cycle()) {
        let line = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(one.points.iter().copied(), line))?
            .label(&one.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], line));
    }
    if named.len() > 1 {
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.9))
            .border_style(LIGHT)
            .label_font(("sans-serif", 14, &INK))
            .draw()?;
    }
    Ok(())
}

/// Draws all bars as one shape. If there are many, each step of the shape is the largest of several bars.
fn bars<B: DrawingBackend>(chart: &mut Chart<B>, heights: &[f64]) -> Painted<()>
where
    B::ErrorType: 'static,
{
    let share = heights.len().div_ceil(2 * COLUMNS).max(1);
    let tops = heights.chunks(share).enumerate().flat_map(|(i, some)| {
        let (left, top) = ((i * share) as f64, some.iter().copied().fold(0.0, f64::max));
        [(left, top), (left + some.len() as f64, top)]
    });
    let ends = [(heights.len() as f64, 0.0), (0.0, 0.0)];
    chart.draw_series([Polygon::new(tops.chain(ends).collect::<Vec<_>>(), COLORS[0].filled())])?;
    Ok(())
}

/// The finite points. If there are more than two per column, the minimum and maximum of each of `COLUMNS` equal
/// intervals.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut points: Vec<_> =
        points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite()).collect();
    if points.len() <= 2 * COLUMNS {
        return points;
    }
    let (first, last) = (points[0], points[points.len() - 1]);
    let share = points.len().div_ceil(COLUMNS);
    let ends = |some: &[(f64, f64)]| {
        let order = |a: &usize, b: &usize| some[*a].1.total_cmp(&some[*b].1);
        let low = (0..some.len()).min_by(order).unwrap_or(0);
        let high = (0..some.len()).max_by(order).unwrap_or(0);
        [some[low.min(high)], some[low.max(high)]]
    };
    points = points.chunks(share).flat_map(ends).collect();
    points.insert(0, first);
    points.push(last);
    points
}

/// A number on an axis, without trailing zeros.
fn label_of(y: f64) -> String {
    let text = super::sketch::number(y);
    let plain = text.contains('.') && !text.contains('e');
    if plain { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// The range of the values, extended at both ends by the fraction `room`. Never empty.
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

    const AXES: Axes = Axes { title: "Loss <1>", x: "step", y: "nats" };

    fn falling(n: u32) -> Vec<(f64, f64)> {
        (0..n).map(|i| (f64::from(i), 5.0 / (1.0 + f64::from(i)))).collect()
    }

    #[test]
    fn draws_something_in_colour() {
        let blue = |plot: Plot| {
            let image = plot.image("").expect("a plot");
            assert_eq!(image.dimensions(), SIZE);
            image.pixels().filter(|p| p.0 == [0, 114, 178]).count()
        };
        let curve = blue(Plot::lines(&AXES, vec![Series::new("loss", falling(100))]));
        assert!(curve > 300, "{curve} blue pixels");
        let half = blue(Plot::histogram(&AXES, &[1.0, 0.0, f64::NAN, 1.0]));
        let all = blue(Plot::histogram(&AXES, &[1.0; 4]));
        assert!(half * 2 > all - 2000 && half * 2 < all + 2000, "{half} of {all}");
    }

    #[test]
    fn survives_odd_input() {
        let odd = vec![(0.0, f64::NAN), (f64::INFINITY, 1.0), (2.0, 3.0)];
        let plots = [
            Plot::lines(&AXES, vec![Series::new("a", odd), Series::new("b", vec![])]),
            Plot::lines(&AXES, vec![]),
            Plot::histogram(&AXES, &[]),
            Plot::histogram(&AXES, &[0.0, 3.0, f64::NAN, -1.0]),
        ];
        assert!(plots.iter().all(|plot| plot.image("x").is_ok() && plot.svg("x").is_ok()));
    }

    #[test]
    fn text_in_svg_is_text() {
        let plot =
            Plot::lines(&AXES, vec![Series::new("a & b", falling(9)), Series::faint(falling(9))]);
        let svg = plot.svg("nine \"points\"").expect("a plot");
        for part in
            ["Loss &lt;1&gt;", "font-family=\"sans-serif\"", "nine &quot;points&quot;", "nats"]
        {
            assert!(svg.contains(part), "{part} is not in\n{svg}");
        }
        assert!(!svg.contains("a &amp; b"), "one curve needs no legend");
    }

    #[test]
    fn many_points_stay_small_and_keep_their_ends_and_peaks() {
        let mut points = falling(100_000);
        points[54_321].1 = 9.0;
        let plot =
            Plot::lines(&AXES, vec![Series::new("loss", points), Series::faint(falling(100_000))]);
        let Marks::Curves(series) = &plot.marks else { panic!("no curves") };
        let kept = &series[0].points;
        assert!(kept.contains(&(54_321.0, 9.0)) && kept[0].0 == 0.0);
        assert_eq!(kept[kept.len() - 1].0, 99_999.0);
        let codes: Vec<f64> = (0..8192).map(f64::from).collect();
        let sizes =
            [plot, Plot::histogram(&AXES, &codes)].map(|p| p.svg("").expect("a plot").len());
        assert!(sizes.iter().all(|&bytes| bytes < 25_000), "{sizes:?}");
    }
}
