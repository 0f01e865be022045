//! Plots drawn in text characters, for terminals without pictures and for logs.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Columns left of a sketch: a label of nine characters and the axis.
const MARGIN: usize = 11;

/// A curve of `ys` over evenly spaced positions, `width` characters wide and `height` lines high.
///
/// Each column shows the mean of its share of the values, in eighths of a line. Values that are not finite leave a gap.
/// Empty if there are no values.
pub fn curve(ys: &[f64], width: usize, height: usize) -> String {
    let columns = resample(ys, width.max(1));
    let Some((low, high)) = bounds(&columns) else { return String::new() };
    let span = if high > low { high - low } else { 1.0 };
    let eighths = |y: f64| 1 + ((y - low) / span * (height * 8 - 1) as f64).round() as usize;
    let line = |row: usize| -> String {
        let below = (height - 1 - row) * 8;
        let letter = |y: &f64| match y.is_finite().then(|| eighths(*y).saturating_sub(below)) {
            None | Some(0) => ' ',
            Some(n) => BARS[n.min(8) - 1],
        };
        let label = match row {
            0 => number(high),
            r if r + 1 == height => number(low),
            _ => String::new(),
        };
        format!("{label:>9} ┤{}", columns.iter().map(letter).collect::<String>())
    };
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

/// The line below a curve, with its first and last x value and the axis name.
pub fn x_axis(start: &str, end: &str, name: &str, width: usize) -> String {
    let room = width.saturating_sub(start.chars().count() + end.chars().count());
    format!("{}{start}{name:^room$}{end}", " ".repeat(MARGIN))
}

/// Bars with a name before and a number after each: counts, fractions, losses per noise ratio.
pub fn bars(rows: &[(String, f64)], width: usize) -> String {
    let most = rows.iter().map(|r| r.1).filter(|y| y.is_finite()).fold(0.0, f64::max);
    let names = rows.iter().map(|r| r.0.chars().count()).max().unwrap_or(0);
    let bar = |y: f64| -> String {
        let eighths = if most > 0.0 { (y / most * (width * 8) as f64).round() as usize } else { 0 };
        let rest = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1));
        "█".repeat(eighths / 8) + &rest.map(char::to_string).unwrap_or_default()
    };
    let row = |(name, y): &(String, f64)| format!("{name:>names$} {} {}", bar(*y), number(*y));
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// A number in at most nine characters.
pub fn number(y: f64) -> String {
    match y.abs() {
        _ if y == y.trunc() && y.abs() < 1e8 => format!("{y:.0}"),
        a if !(1e-3..1e6).contains(&a) => format!("{y:.2e}"),
        a if a >= 100.0 => format!("{y:.1}"),
        _ => format!("{y:.3}"),
    }
}

/// Means of `width` equal shares of the values. If there are fewer values, they are repeated.
fn resample(ys: &[f64], width: usize) -> Vec<f64> {
    let n = ys.len();
    let share = |i: usize| -> f64 {
        let (from, to) = (i * n / width, ((i + 1) * n / width).max(i * n / width + 1));
        ys[from..to.min(n)].iter().sum::<f64>() / (to.min(n) - from) as f64
    };
    if n == 0 { Vec::new() } else { (0..width).map(share).collect() }
}

fn bounds(ys: &[f64]) -> Option<(f64, f64)> {
    let finite = || ys.iter().copied().filter(|y| y.is_finite());
    finite().next()?;
    Some((finite().fold(f64::MAX, f64::min), finite().fold(f64::MIN, f64::max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_line_fills_the_corner() {
        let ys: Vec<f64> = (0..8).map(f64::from).collect();
        let text = curve(&ys, 8, 1);
        assert_eq!(text, "        7 ┤▁▂▃▄▅▆▇█");
    }

    #[test]
    fn two_lines_high() {
        let lines: Vec<String> = curve(&[0.0, 1.0], 2, 2).lines().map(String::from).collect();
        assert_eq!(lines, ["        1 ┤ █", "        0 ┤▁█"]);
    }

    #[test]
    fn survives_odd_input() {
        assert_eq!(curve(&[], 10, 3), "");
        assert_eq!(curve(&[f64::NAN], 10, 3), "");
        assert!(curve(&[1.0, f64::NAN, f64::INFINITY, 2.0], 4, 2).contains('█'));
        assert!(curve(&[5.0; 3], 40, 4).lines().count() == 4);
        assert_eq!(bars(&[("a".into(), 0.0), ("bc".into(), f64::NAN)], 4).lines().count(), 2);
    }

    #[test]
    fn bars_are_as_long_as_their_numbers() {
        let text = bars(&[("a".into(), 1.0), ("bb".into(), 4.0)], 8);
        assert_eq!(text, " a ██ 1\nbb ████████ 4");
    }
}
