//! What pictures of profiles are drawn with.

use super::drawing::escaped;

pub const INK: &str = "#1c1c24";
pub const FAINT: &str = "#6e6e7a";
pub const GRID: &str = "#e6e6e1";
pub const ROOF: &str = "#b4442c";
/// At most the width of a letter at the size of labels.
pub const LETTER: f64 = 7.6;
/// White around letters that stand on something.
pub const HALO: &str = "paint-order=\"stroke\" stroke=\"#fff\" stroke-width=\"3\"";

/// The beginning of a picture: its size, a title, and a line below it.
pub fn head([width, height]: [f64; 2], left: f64, title: &str, below: &str) -> String {
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    svg + &text((left, 28.0), "start", INK, title, "font-size=\"18\" font-weight=\"600\"") + &text((left, 48.0), "start", FAINT, below, "")
}

/// A straight line.
pub fn line([x1, y1, x2, y2]: [f64; 4], colour: &str, more: &str) -> String {
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" {more}/>\n")
}

/// Letters.
pub fn text((x, y): (f64, f64), anchor: &str, colour: &str, what: &str, more: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" {more}>{}</text>\n", escaped(what))
}

/// A number in short: 0.01, 1, 10, 100 G, 23.4 T
pub fn number(value: f64) -> String {
    const UNITS: [(&str, f64); 5] = [("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)];
    let (unit, size) = UNITS.into_iter().find(|&(_, size)| value >= size * 0.9995).unwrap_or(("", 1.0));
    let scaled = value / size;
    let digits = if scaled >= 99.95 || (scaled - scaled.round()).abs() < 1e-9 {
        0
    } else if scaled >= 0.1 {
        1
    } else {
        3
    };
    let text = format!("{scaled:.digits$}");
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}

/// Microseconds, in short.
pub fn time(us: f64) -> String {
    if us >= 1e6 {
        format!("{:.2} s", us / 1e6)
    } else if us >= 1e3 {
        format!("{:.2} ms", us / 1e3)
    } else {
        format!("{us:.1} us")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.01, 1.0, 10.0, 1e11, 2.34e13].map(number), ["0.010", "1", "10", "100 G", "23.4 T"]);
    }
}
