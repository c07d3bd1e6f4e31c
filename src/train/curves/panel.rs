//! One panel: a title, two axes and the curves between them.

use super::axis::{Axis, Reading, short};
use std::fmt::Write;

/// What stands above the curves and beneath them, and left of them.
const ABOVE: f64 = 34.0;
const BELOW: f64 = 52.0;
const LEFT: f64 = 48.0;
const INK: &str = "#1c1c24";
const FAINT: &str = "#6e6e7a";
const GRID: &str = "#e6e6e1";
const LINE: &str = "#a2a2ac";
/// A curve of more points is thinned to this many pairs of a smallest and a largest value.
const BINS: usize = 400;

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A thin pale line.
    Pale,
    /// A line.
    Line,
    /// A line with its points marked.
    Dotted,
}

/// One curve: (step, value), by rising steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What the legend calls it; a curve without a name is not in it.
    pub name: String,
    pub colour: &'static str,
    pub look: Look,
    pub points: Vec<(f64, f64)>,
}

/// Where a panel stands, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub x: f64,
    pub y: f64,
    pub w: f64,
    pub h: f64,
}

/// One panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    pub title: &'static str,
    pub unit: &'static str,
    pub reading: Reading,
    pub curves: Vec<Curve>,
}

impl Panel {
    /// There is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.curves.iter().all(|curve| curve.points.is_empty())
    }

    /// The panel as a group of SVG elements. `last` is the step at the right end; `number` tells panels apart.
    pub fn draw(&self, place: Place, last: f64, number: usize) -> String {
        let plot = Place { x: place.x + LEFT, y: place.y + ABOVE, w: place.w - LEFT, h: place.h - ABOVE - BELOW };
        let (x, y) = (Axis::new(Reading::Steps, (0.0, last.max(1.0)), 6), Axis::new(self.reading, self.span(), 5));
        // The curves end at the last step, not at the last tick.
        let across = last.max(1.0);
        let right = |step: f64| plot.x + plot.w * (step / across).clamp(0.0, 1.0);
        let up = |value: f64| plot.y + plot.h * (1.0 - y.at(value));
        let mut svg = String::from("<g font-size=\"12\">\n");
        svg += &self.head(place, &y);
        for (value, label) in y.ticks() {
            let at = up(value);
            svg += &line((plot.x, at), (plot.x + plot.w, at), GRID);
            svg += &text((plot.x - 8.0, at + 4.0), "end", FAINT, &label);
        }
        let bottom = plot.y + plot.h;
        for (step, label) in x.ticks().filter(|(step, _)| *step <= across) {
            svg += &line((right(step), bottom), (right(step), bottom + 5.0), LINE);
            svg += &text((right(step), bottom + 19.0), "middle", FAINT, &label);
        }
        svg += &line((plot.x, bottom), (plot.x + plot.w, bottom), LINE);
        let unit = x.factor().map_or("step".to_owned(), |factor| format!("step, {factor}"));
        svg += &text((plot.x + plot.w / 2.0, bottom + 37.0), "middle", INK, &unit);
        // Room for the marks of the outermost points.
        let (left, top, w, h) = (plot.x - 4.0, plot.y - 4.0, plot.w + 8.0, plot.h + 8.0);
        let _ = writeln!(svg, "<clipPath id=\"plot{number}\"><rect x=\"{left}\" y=\"{top}\" width=\"{w}\" height=\"{h}\"/></clipPath>");
        let _ = writeln!(svg, "<g clip-path=\"url(#plot{number})\" fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\">");
        for curve in &self.curves {
            let spots: Vec<(f64, f64)> = thinned(&curve.points).iter().map(|&(step, value)| (right(step), up(value))).collect();
            svg += &curve.draw(&spots);
        }
        svg + "</g>\n</g>\n"
    }

    /// Title and unit at the left, the legend with the last values at the right.
    fn head(&self, place: Place, y: &Axis) -> String {
        let unit = [self.unit.to_owned(), y.factor().unwrap_or_default()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        let mut legend = String::new();
        for curve in self.curves.iter().filter(|curve| !curve.name.is_empty()) {
            if let Some(&(_, value)) = curve.points.last() {
                let value = if self.reading == Reading::Percent { format!("{:.1}%", value * 100.0) } else { short(value) };
                let gap = if legend.is_empty() { "" } else { " dx=\"14\"" };
                let _ = write!(
                    legend,
                    "<tspan fill=\"{}\"{gap}>● {}</tspan><tspan dx=\"5\" fill=\"{INK}\">{value}</tspan>",
                    curve.colour,
                    escape(&curve.name)
                );
            }
        }
        let (x, right, base) = (place.x, place.x + place.w, place.y + 14.0);
        format!(
            "<text x=\"{x}\" y=\"{base}\" font-size=\"14\" font-weight=\"bold\" fill=\"{INK}\">{}\
             <tspan dx=\"8\" font-size=\"12\" font-weight=\"normal\" fill=\"{FAINT}\">{unit}</tspan></text>\n\
             <text x=\"{right}\" y=\"{base}\" text-anchor=\"end\">{legend}</text>\n",
            self.title
        )
    }

    /// What the vertical axis has to span. Of pale curves the outermost hundredth at either end is left out, so that one spike does not flatten
    /// everything else.
    fn span(&self) -> (f64, f64) {
        let mut values = Vec::new();
        for curve in &self.curves {
            let mut own: Vec<f64> = curve.points.iter().map(|point| point.1).collect();
            own.sort_by(f64::total_cmp);
            let cut = if curve.look == Look::Pale { own.len() / 100 } else { 0 };
            values.extend(own.get(cut..own.len() - cut).unwrap_or_default());
        }
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if least <= most { (least, most) } else { (0.0, 1.0) }
    }
}

impl Curve {
    fn draw(&self, spots: &[(f64, f64)]) -> String {
        let (width, opacity) = match self.look {
            Look::Pale => (1.0, 0.28),
            Look::Line | Look::Dotted => (2.0, 1.0),
        };
        let mut path = String::new();
        for (x, y) in spots {
            let _ = write!(path, "{}{x:.1},{y:.1}", if path.is_empty() { "" } else { " " });
        }
        let colour = self.colour;
        let mut svg = format!("<polyline points=\"{path}\" stroke=\"{colour}\" stroke-width=\"{width}\" opacity=\"{opacity}\"/>\n");
        // A line of one point is not seen; of many marks none is told from the next.
        if spots.len() == 1 || (self.look == Look::Dotted && spots.len() <= 80) {
            for (x, y) in spots {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\" fill=\"{colour}\" opacity=\"{opacity}\"/>");
            }
        }
        svg
    }
}

/// Of long curves the smallest and the largest value of each of [`BINS`] stretches.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 2 * BINS {
        return points.to_vec();
    }
    let ends = |stretch: &[(f64, f64)]| {
        let least = stretch.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
        let most = stretch.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut ends: Vec<(f64, f64)> = least.into_iter().chain(most).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends
    };
    points.chunks(points.len().div_ceil(BINS)).flat_map(ends).collect()
}

fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) -> String {
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>\n")
}

fn text((x, y): (f64, f64), anchor: &str, colour: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>\n", escape(text))
}

/// A text as XML spells it; what XML cannot hold is left out.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}
