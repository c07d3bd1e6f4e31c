//! The curves of a run as an SVG: loss, accuracy, learning rate and gradient norm over the steps.

mod axis;
mod panel;

use super::record::{Kind, Row};
use crate::data::jsonl;
use crate::error::{Error, Result};
use crate::weights::write_atomically;
use axis::Reading;
use panel::{Curve, Look, Panel, Place, escape};
use std::fmt::Write as _;
use std::path::Path;

/// How wide the figure is, in pixels.
const WIDTH: f64 = 1080.0;
/// What title and summary take.
const HEAD: f64 = 84.0;
/// How high a row of panels is.
const ROW: f64 = 320.0;
/// Around everything.
const MARGIN: f64 = 32.0;
/// Between two panels.
const GAP: f64 = 40.0;
/// Values from here on are as good as infinite.
const ABSURD: f64 = 1e100;
const BLUE: &str = "#3b62b4";
const ORANGE: &str = "#d9601a";
/// The rates of parameter groups, one after another.
const GROUPS: [&str; 4] = [BLUE, ORANGE, "#2f8a5b", "#8c4fa0"];

/// Draws the curves of a run's `metrics.jsonl` and writes them; the file is whole or not there.
///
/// # Errors
/// Those of [`jsonl::read`]; [`Error::Io`] where the file cannot be written.
pub fn write(metrics: &Path, svg: &Path, title: &str) -> Result<()> {
    let drawn = draw(&jsonl::read::<Row>(metrics)?, title);
    write_atomically(svg, |out| out.write_all(drawn.as_bytes()).map_err(|e| Error::io(svg, e)))
}

/// Draws the curves. What no row has gets no panel; values that are not finite, or absurd, are left out.
pub fn draw(rows: &[Row], title: &str) -> String {
    let panels: Vec<Panel> = [loss(rows), accuracy(rows), rate(rows), grad_norm(rows)].into_iter().filter(|panel| !panel.is_empty()).collect();
    let columns = panels.len().clamp(1, 2);
    let height = HEAD + panels.len().div_ceil(columns) as f64 * ROW + MARGIN / 2.0;
    let width = (WIDTH - 2.0 * MARGIN - GAP * (columns - 1) as f64) / columns as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\">\n<title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"10\" fill=\"#fcfcfa\"/>\n\
         <text x=\"{MARGIN}\" y=\"42\" font-size=\"20\" font-weight=\"bold\" fill=\"#1c1c24\">{title}</text>\n\
         <text x=\"{MARGIN}\" y=\"64\" font-size=\"13\" fill=\"#6e6e7a\">{}</text>\n",
        summary(rows),
        title = escape(title),
    );
    let last = rows.iter().map(|row| row.step).max().unwrap_or(0) as f64;
    for (i, panel) in panels.iter().enumerate() {
        let (column, row) = (i % columns, i / columns);
        let place = Place { x: MARGIN + column as f64 * (width + GAP), y: HEAD + row as f64 * ROW, w: width, h: ROW };
        svg += &panel.draw(place, last, i);
    }
    svg + "</svg>\n"
}

/// The points of one column of the rows of one kind.
fn points(rows: &[Row], kind: Kind, column: impl Fn(&Row) -> Option<f64>) -> Vec<(f64, f64)> {
    let of_kind = rows.iter().filter(|row| row.kind == kind);
    of_kind.filter_map(|row| Some((row.step as f64, column(row)?))).filter(|(_, value)| value.abs() < ABSURD).collect()
}

/// Training pale and smoothed, validation over it.
fn train_and_val(rows: &[Row], column: impl Fn(&Row) -> Option<f64>) -> Vec<Curve> {
    let train = points(rows, Kind::Train, &column);
    let smooth = smoothed(&train);
    vec![
        Curve { name: String::new(), colour: BLUE, look: Look::Pale, points: train },
        Curve { name: "train".to_owned(), colour: BLUE, look: Look::Line, points: smooth },
        Curve { name: "val".to_owned(), colour: ORANGE, look: Look::Dotted, points: points(rows, Kind::Val, column) },
    ]
}

fn loss(rows: &[Row]) -> Panel {
    Panel { title: "Loss", unit: "nats", reading: Reading::Plain, curves: train_and_val(rows, |row| row.loss) }
}

fn accuracy(rows: &[Row]) -> Panel {
    Panel { title: "Accuracy", unit: "", reading: Reading::Percent, curves: train_and_val(rows, |row| row.accuracy) }
}

fn rate(rows: &[Row]) -> Panel {
    let groups = rows.iter().map(|row| row.rate.len()).max().unwrap_or(0);
    let of_group = |group: usize| Curve {
        name: if groups > 1 { format!("group {}", group + 1) } else { String::new() },
        colour: GROUPS[group % GROUPS.len()],
        look: Look::Line,
        points: points(rows, Kind::Train, |row| row.rate.get(group).copied()),
    };
    Panel { title: "Learning rate", unit: "", reading: Reading::FromZero, curves: (0..groups).map(of_group).collect() }
}

fn grad_norm(rows: &[Row]) -> Panel {
    let raw: Vec<(f64, f64)> = points(rows, Kind::Train, |row| row.grad_norm).into_iter().filter(|(_, norm)| *norm > 0.0).collect();
    let logs: Vec<(f64, f64)> = raw.iter().map(|&(step, norm)| (step, norm.ln())).collect();
    let smooth = smoothed(&logs).into_iter().map(|(step, log)| (step, log.exp())).collect();
    let curves = vec![
        Curve { name: String::new(), colour: BLUE, look: Look::Pale, points: raw },
        Curve { name: "before clipping".to_owned(), colour: BLUE, look: Look::Line, points: smooth },
    ];
    Panel { title: "Gradient norm", unit: "log scale", reading: Reading::Log, curves }
}

/// The running mean that forgets by 1/e over a fortieth of the points; its start is not drawn to 0: each value is divided by the weight so far.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let keep = (-40.0 / points.len().max(40) as f64).exp();
    let (mut sum, mut weight) = (0.0, 0.0);
    let mean = |&(step, value): &(f64, f64)| {
        sum = keep * sum + value;
        weight = keep * weight + 1.0;
        (step, sum / weight)
    };
    points.iter().map(mean).collect()
}

/// How long the run was, how fast, and its best validation.
fn summary(rows: &[Row]) -> String {
    let steps = rows.iter().map(|row| row.step).max().unwrap_or(0);
    let mut parts = vec![if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }];
    parts.extend(rows.iter().rev().find_map(|row| row.epoch).map(|epochs| format!("{epochs:.1} epochs")));
    let mut speeds: Vec<f64> = points(rows, Kind::Train, |row| row.images_per_second).into_iter().map(|(_, speed)| speed).collect();
    speeds.sort_by(f64::total_cmp);
    parts.extend(speeds.get(speeds.len() / 2).map(|speed| format!("{speed:.0} pictures/s")));
    let (right, lost) = (points(rows, Kind::Val, |row| row.accuracy), points(rows, Kind::Val, |row| row.loss));
    if let Some((step, best)) = right.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)) {
        parts.push(format!("best val accuracy {:.1}% at step {step}", best * 100.0));
    } else if let Some((step, best)) = lost.iter().min_by(|a, b| a.1.total_cmp(&b.1)) {
        parts.push(format!("best val loss {best:.3} at step {step}"));
    }
    let mut text = parts.join(" · ");
    if let Some(skipped) = rows.iter().filter_map(|row| row.skipped).max().filter(|&skipped| skipped > 0) {
        let _ = write!(text, " · {skipped} skipped");
    }
    text
}
