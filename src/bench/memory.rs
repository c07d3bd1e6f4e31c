//! A profile as memory over time: what the tensors of each moment take, below what was planned for all of them.

use super::picture::{FAINT, GRID, HALO, INK, LETTER, ROOF, head, line, number, text, time};
use super::profile::Profile;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const ABOVE: f64 = 72.0;
const BELOW: f64 = 84.0;
const LIVE: &str = "#0072b2";
/// Lines across the picture, at most.
const LINES: f64 = 6.0;

/// The picture as SVG: nodes one behind another as long as they took, the parts of the model named below.
pub fn draw(profile: &Profile, part_of: impl Fn(&str) -> String) -> String {
    let whole = profile.us().max(f64::MIN_POSITIVE);
    let most = profile.nodes.iter().map(|node| node.live).max().unwrap_or(0);
    let top = profile.planned.max(most).max(1) as f64;
    let x = |us: f64| LEFT + us / whole * (WIDTH - LEFT - RIGHT);
    let y = |bytes: f64| HEIGHT - BELOW - bytes / top * (HEIGHT - ABOVE - BELOW);
    let title = format!("{}, {} at once, {}: at most {}B live", profile.part, profile.batch, profile.dtype, number(most as f64));
    let mut svg = head([WIDTH, HEIGHT], LEFT, &title, &profile.device);
    for bytes in round_steps(top, LINES) {
        svg += &line([LEFT, y(bytes), WIDTH - RIGHT, y(bytes)], GRID, "");
        svg += &text((LEFT - 8.0, y(bytes) + 4.0), "end", FAINT, &format!("{}B", number(bytes)), "");
    }
    for us in round_steps(whole, LINES) {
        svg += &line([x(us), HEIGHT - BELOW, x(us), HEIGHT - BELOW + 5.0], FAINT, "");
        svg += &text((x(us), HEIGHT - BELOW + 20.0), "middle", FAINT, &time(us), "");
    }
    let mut path = format!("M{LEFT:.1} {:.1}", y(0.0));
    let mut now = 0.0;
    for node in &profile.nodes {
        let height = y(node.live as f64);
        let _ = write!(path, "L{:.2} {height:.1}L{:.2} {height:.1}", x(now), x(now + node.us));
        now += node.us;
    }
    let _ = writeln!(svg, "<path d=\"{path}L{:.1} {:.1}Z\" fill=\"{LIVE}\" fill-opacity=\"0.35\" stroke=\"{LIVE}\"/>", x(now), y(0.0));
    svg += &line([LEFT, y(profile.planned as f64), WIDTH - RIGHT, y(profile.planned as f64)], ROOF, "stroke-width=\"2\" stroke-dasharray=\"6 4\"");
    // A GPU's scratch lies beside the plan.
    let scratch = if profile.device.starts_with("cpu") { ", scratch included" } else { "" };
    let planned = format!("{}B planned{scratch}", number(profile.planned as f64));
    svg += &text((WIDTH - RIGHT, y(profile.planned as f64) - 8.0), "end", ROOF, &planned, HALO);
    svg += &parts(profile, part_of, x);
    svg += &text((WIDTH - RIGHT, HEIGHT - 10.0), "end", FAINT, "weights and other state are not in it", "");
    svg + "</svg>\n"
}

/// A line between neighbouring parts, and names where there is room for them.
fn parts(profile: &Profile, part_of: impl Fn(&str) -> String, x: impl Fn(f64) -> f64) -> String {
    let mut runs: Vec<(String, f64, f64)> = Vec::new();
    let mut now = 0.0;
    for node in &profile.nodes {
        let part = part_of(&node.scope);
        match runs.last_mut() {
            Some((name, _, end)) if *name == part => *end += node.us,
            _ => runs.push((part, now, now + node.us)),
        }
        now += node.us;
    }
    let one = |(name, from, to): &(String, f64, f64)| {
        let (from, to) = (x(*from), x(*to));
        let mark = line([from, ABOVE, from, HEIGHT - BELOW], FAINT, "stroke-dasharray=\"1 3\"");
        let has_room = LETTER * name.len() as f64 <= to - from;
        mark + &if has_room { text((0.5 * (from + to), HEIGHT - BELOW + 42.0), "middle", INK, name, "") } else { String::new() }
    };
    runs.iter().map(one).collect()
}

/// Multiples of 1, 2 or 5 times a power of ten, from 0 to the top, in at most so many steps.
fn round_steps(top: f64, most: f64) -> impl Iterator<Item = f64> {
    let decade = 10f64.powf((top / most).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|by| by * decade).into_iter().find(|step| top / step <= most).unwrap_or(10.0 * decade);
    (0..).map(move |n| f64::from(n) * step).take_while(move |at| *at <= top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        assert_eq!(round_steps(10.0, 6.0).collect::<Vec<_>>(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(round_steps(0.7, 6.0).count(), 4);
        assert_eq!(round_steps(6e6, 6.0).nth(6), Some(6e6));
    }
}
