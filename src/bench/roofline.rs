//! A profile as a roofline (Williams et al. 2009): FLOPs a second over FLOPs a byte, both by their logarithms, under the roofs of memory and arithmetic.
//!
//! A disc is an operator on tensors of certain types, its area the share of the run's time; what lies far below the roof and is large is worth a look.

use super::drawing::escaped;
use super::peaks::Peaks;
use super::picture::{FAINT, GRID, HALO, INK, LETTER, ROOF, head, line, number, text, time};
use super::profile::Profile;
use crate::tensor::DType;
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 640.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const ABOVE: f64 = 64.0;
const BELOW: f64 = 124.0;
/// For the operators that take longest, told apart by those who see few colours as well (Okabe and Ito); what is left is grey.
const COLOURS: [&str; 7] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00"];
const OTHERS: &str = "#9a9aa4";
/// Radius of the disc of all the run's time.
const WHOLE: f64 = 60.0;
/// Discs that are named in the picture, and the least share of the time that gives one a name.
const NAMED: usize = 8;
const LEAST: f64 = 0.01;

/// What letters take, from left to right and from top to bottom.
type Room = [f64; 4];

/// What letters take that stand on this line, around this middle.
fn room((middle, line): (f64, f64), letters: usize) -> Room {
    let half = 0.5 * LETTER * letters as f64;
    [middle - half, middle + half, line - 12.0, line + 4.0]
}

fn touch(a: &Room, b: &Room) -> bool {
    a[0] < b[1] && b[0] < a[1] && a[2] < b[3] && b[2] < a[3]
}

/// A disc.
struct Disc {
    op: String,
    name: String,
    /// FLOPs a byte, FLOPs a second, share of the time.
    at: [f64; 3],
}

impl Disc {
    fn radius(&self) -> f64 {
        (WHOLE * self.at[2].sqrt()).max(2.0)
    }
}

/// An axis by logarithms.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    /// Whole decades around these numbers.
    fn around(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let low = numbers.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let high = numbers.fold(0.0, f64::max).log10().ceil();
        Axis { from: low, to: high.max(low + 1.0) }
    }

    /// From 0 to 1.
    fn at(&self, number: f64) -> f64 {
        ((number.log10() - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.from as i32..=self.to as i32).map(|decade| 10f64.powi(decade))
    }
}

/// The picture as SVG. What has no FLOPs, such as copies, has no place in it, and is counted below.
pub fn draw(profile: &Profile, peaks: &Peaks) -> String {
    let whole = profile.us().max(f64::MIN_POSITIVE);
    let is_half = profile.dtype != DType::F32.name();
    let discs = discs(profile, whole);
    let top = peaks.rate(is_half);
    let ridge = top / peaks.bytes_per_second;
    let across = Axis::around(discs.iter().map(|disc| disc.at[0]).chain([ridge / 10.0, ridge * 10.0]));
    let up = Axis::around(discs.iter().map(|disc| disc.at[1]).chain([top, peaks.flops_per_second / 100.0]));
    let x = |intensity: f64| LEFT + across.at(intensity) * (WIDTH - LEFT - RIGHT);
    let y = |rate: f64| HEIGHT - BELOW - up.at(rate) * (HEIGHT - ABOVE - BELOW);
    let title = format!("{}, {} at once, {}: {}", profile.part, profile.batch, profile.dtype, time(whole));
    let mut svg = head([WIDTH, HEIGHT], LEFT, &title, &profile.device);
    for decade in across.decades() {
        svg += &line([x(decade), ABOVE, x(decade), HEIGHT - BELOW], GRID, "");
        svg += &text((x(decade), HEIGHT - BELOW + 20.0), "middle", FAINT, &number(decade), "");
    }
    for decade in up.decades() {
        svg += &line([LEFT, y(decade), WIDTH - RIGHT, y(decade)], GRID, "");
        svg += &text((LEFT - 8.0, y(decade) + 4.0), "end", FAINT, &number(decade), "");
    }
    svg += &text((0.5 * (LEFT + WIDTH - RIGHT), HEIGHT - BELOW + 42.0), "middle", INK, "FLOP a byte", "");
    let turned = format!("transform=\"rotate(-90 22 {0})\"", 0.5 * (ABOVE + HEIGHT - BELOW));
    svg += &text((22.0, 0.5 * (ABOVE + HEIGHT - BELOW)), "middle", INK, "FLOP/s", &turned);
    svg += &roofs(peaks, is_half, &across, &up, (&x, &y));
    let colours = colours(profile);
    let colour = |op: &str| colours.iter().position(|name| name == op).and_then(|i| COLOURS.get(i)).copied().unwrap_or(OTHERS);
    for disc in &discs {
        let [intensity, rate, share] = disc.at;
        let radius = disc.radius();
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\" fill-opacity=\"0.55\" stroke=\"{}\"><title>{}: {:.1}% of the time</title></circle>",
            x(intensity),
            y(rate),
            colour(&disc.op),
            colour(&disc.op),
            escaped(&disc.name),
            100.0 * share
        );
    }
    let (roof_names, taken) = roof_names(peaks, is_half, &across, &up, (&x, &y));
    svg += &roof_names;
    svg += &names(&discs, taken, (&x, &y));
    svg += &legend(&colours, profile, whole);
    svg + "</svg>\n"
}

fn discs(profile: &Profile, whole: f64) -> Vec<Disc> {
    let mut sums: BTreeMap<String, (String, f64, u64, u64)> = BTreeMap::new();
    for node in profile.nodes.iter().filter(|node| node.flops > 0 && node.bytes > 0 && node.us > 0.0) {
        let sum = sums.entry(format!("{} {}", node.op, node.gives)).or_insert((node.op.clone(), 0.0, 0, 0));
        *sum = (std::mem::take(&mut sum.0), sum.1 + node.us, sum.2 + node.flops, sum.3 + node.bytes);
    }
    let disc = |(name, (op, us, flops, bytes)): (String, (String, f64, u64, u64))| Disc {
        op,
        name,
        at: [flops as f64 / bytes as f64, flops as f64 / us * 1e6, us / whole],
    };
    let mut discs: Vec<Disc> = sums.into_iter().map(disc).collect();
    // The large ones first, so that small ones lie on top.
    discs.sort_by(|a, b| b.at[2].total_cmp(&a.at[2]));
    discs
}

/// The operators that take longest.
fn colours(profile: &Profile) -> Vec<String> {
    profile.shares(|node| node.op.clone()).into_iter().filter(|share| share.flops > 0).take(COLOURS.len()).map(|share| share.name).collect()
}

/// Names of the largest discs, above, below or beside them, but none over another or what else is taken.
fn names(discs: &[Disc], mut taken: Vec<Room>, (x, y): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64)) -> String {
    let mut svg = String::new();
    for disc in discs.iter().filter(|disc| disc.at[2] >= LEAST).take(NAMED) {
        let label = format!("{} {:.0}%", disc.op, 100.0 * disc.at[2]);
        let half = 0.5 * LETTER * label.len() as f64;
        let (at, radius) = ((x(disc.at[0]), y(disc.at[1])), disc.radius());
        let middle = at.0.clamp(LEFT + half, WIDTH - RIGHT - half);
        let beside = radius + half + 4.0;
        let places = [(middle, at.1 - radius - 6.0), (middle, at.1 + radius + 14.0), (at.0 + beside, at.1 + 4.0), (at.0 - beside, at.1 + 4.0)];
        let is_free = |&place: &(f64, f64)| {
            let own = room(place, label.len());
            own[0] >= LEFT && own[1] <= WIDTH - RIGHT && own[2] >= ABOVE && own[3] <= HEIGHT - BELOW && !taken.iter().any(|other| touch(&own, other))
        };
        if let Some(place) = places.into_iter().find(is_free) {
            taken.push(room(place, label.len()));
            svg += &text(place, "middle", INK, &label, &format!("font-size=\"12\" {HALO}"));
        }
    }
    svg
}

/// Where the slope enters the picture, at its left edge or from below, where it meets a level, and the picture's right edge.
fn bends(peaks: &Peaks, level: f64, across: &Axis, up: &Axis) -> [f64; 3] {
    let start = 10f64.powf(across.from).max(10f64.powf(up.from) / peaks.bytes_per_second);
    [start, level / peaks.bytes_per_second, 10f64.powf(across.to)]
}

/// The slope up to the highest level, and the levels: what multiplies in f32, and above it tensor cores where the run uses them.
fn roofs(peaks: &Peaks, is_half: bool, across: &Axis, up: &Axis, (x, y): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64)) -> String {
    let top = peaks.rate(is_half);
    let [start, ridge, _] = bends(peaks, top, across, up);
    let look = "stroke-width=\"2\"";
    let slope = line([x(start), y(start * peaks.bytes_per_second), x(ridge), y(top)], ROOF, look);
    levels(peaks, is_half).into_iter().fold(slope, |svg, (level, _)| {
        let [_, ridge, end] = bends(peaks, level, across, up);
        svg + &line([x(ridge), y(level), x(end), y(level)], ROOF, look)
    })
}

fn levels(peaks: &Peaks, is_half: bool) -> Vec<(f64, &'static str)> {
    let products = peaks.products_per_second.filter(|_| is_half).map(|rate| (rate, "in 16 bits on tensor cores"));
    [(peaks.flops_per_second, "in f32")].into_iter().chain(products).collect()
}

/// The roofs' names, and what these take.
fn roof_names(peaks: &Peaks, is_half: bool, across: &Axis, up: &Axis, (x, y): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64)) -> (String, Vec<Room>) {
    let top = peaks.rate(is_half);
    let [start, ridge, end] = bends(peaks, top, across, up);
    let mut svg = String::new();
    let mut taken = Vec::new();
    for (level, of) in levels(peaks, is_half) {
        let name = format!("{}FLOP/s {of}", number(level));
        let (right, line) = (x(end) - 4.0, y(level) - 8.0);
        svg += &text((right, line), "end", ROOF, &name, HALO);
        taken.push(room((right - 0.5 * LETTER * name.len() as f64, line), name.len()));
    }
    let middle = (start * ridge).sqrt();
    let (from, to) = ((x(start), y(start * peaks.bytes_per_second)), (x(ridge), y(top)));
    let slant = (to.1 - from.1).atan2(to.0 - from.0);
    let at = (x(middle), y(middle * peaks.bytes_per_second));
    let turned = format!("transform=\"rotate({:.1} {:.1} {:.1}) translate(0 -8)\" {HALO}", slant.to_degrees(), at.0, at.1);
    let name = format!("{}B/s copied", number(peaks.bytes_per_second));
    // Letter by letter along the slope, 8 above it.
    let (away, along) = ((at.0 + 8.0 * slant.sin(), at.1 - 8.0 * slant.cos()), (slant.cos(), slant.sin()));
    taken.extend((0..name.len()).map(|n| {
        let far = LETTER * (n as f64 + 0.5 - 0.5 * name.len() as f64);
        room((away.0 + far * along.0, away.1 + far * along.1), 1)
    }));
    (svg + &text(at, "middle", ROOF, &name, &turned), taken)
}

fn legend(colours: &[String], profile: &Profile, whole: f64) -> String {
    const ROW: f64 = 20.0;
    let mut svg = String::new();
    let shares = profile.shares(|node| node.op.clone());
    let share = |name: &str| shares.iter().find(|share| share.name == name).map_or(0.0, |share| share.us / whole);
    let (mut x, mut y) = (LEFT, HEIGHT - BELOW + 66.0);
    for (name, colour) in colours.iter().zip(COLOURS) {
        let label = format!("{name} {:.0}%", 100.0 * share(name));
        let width = 30.0 + LETTER * label.len() as f64;
        if x + width > WIDTH - RIGHT {
            (x, y) = (LEFT, y + ROW);
        }
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"6\" fill=\"{colour}\" fill-opacity=\"0.55\" stroke=\"{colour}\"/>",
            x + 6.0,
            y - 4.0
        );
        svg += &text((x + 18.0, y), "start", INK, &label, "");
        x += width;
    }
    // A sum of nothing is -0.
    let without = 0.0 + profile.nodes.iter().filter(|node| node.flops == 0).map(|node| node.us / whole).sum::<f64>();
    let rest = format!("area: share of the time; without FLOPs, not shown: {:.0}%", 100.0 * without);
    svg + &text((WIDTH - RIGHT, HEIGHT - 10.0), "end", FAINT, &rest, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::profile::Spent;
    use crate::bench::profile::tests::{profile, spent};

    #[test]
    fn axes_are_whole_decades() {
        let axis = Axis::around([0.2, 30.0].into_iter());
        assert_eq!((axis.from, axis.to), (-1.0, 2.0));
        assert!((axis.at(1.0) - 1.0 / 3.0).abs() < 1e-12 && axis.at(1e9) == 1.0);
    }

    #[test]
    fn names_lie_over_nothing() {
        let disc = |at: [f64; 3]| Disc { op: "conv2d".to_owned(), name: "conv2d f32[1]".to_owned(), at };
        let [x, y] = [|at: f64| at, |at: f64| at];
        let named = |discs: &[Disc], taken: &[Room]| {
            let svg = names(discs, taken.to_vec(), (&x, &y));
            svg.lines().filter_map(|line| line.split(" y=\"").nth(1)?.split('"').next()?.parse::<f64>().ok()).collect::<Vec<f64>>()
        };
        let large = disc([400.0, 300.0, 0.25]);
        let radius = large.radius();
        let [above, below] = [300.0 - radius - 6.0, 300.0 + radius + 14.0];
        let roof = |line: f64| room((400.0, line), 12);
        assert_eq!(named(std::slice::from_ref(&large), &[]), [above]);
        assert_eq!(named(std::slice::from_ref(&large), &[roof(above)]), [below]);
        assert_eq!(named(std::slice::from_ref(&large), &[roof(above), roof(below)]), [304.0]);
        assert_eq!(named(std::slice::from_ref(&large), &[[0.0, WIDTH, 0.0, HEIGHT]]), [0.0; 0]);
        assert_eq!(named(&[disc([400.0, 300.0, 0.009])], &[]), [0.0; 0], "less than 1 %");
    }

    #[test]
    fn tensor_cores_are_a_roof_of_runs_in_half_alone() {
        let node = |op: &str, us: f64, flops: u64, bytes: u64| Spent { op: op.to_owned(), flops, bytes, ..spent(us) };
        let nodes = vec![node("linear", 100.0, 50_000_000_000, 100_000_000), node("layernorm", 50.0, 80_000_000, 160_000_000)];
        let profile = |dtype: &'static str| Profile { dtype, ..profile(nodes.clone()) };
        let peaks = Peaks { device: "d".to_owned(), bytes_per_second: 4e12, flops_per_second: 6e13, products_per_second: Some(9e14), spread: 0.0 };
        let (single, half) = (draw(&profile("f32"), &peaks), draw(&profile("bf16"), &peaks));
        assert!(single.contains("60 TFLOP/s in f32") && !single.contains("tensor cores"), "{single}");
        assert!(half.contains("60 TFLOP/s in f32") && half.contains("900 TFLOP/s in 16 bits on tensor cores"), "{half}");
        assert!(half.contains("not shown: 0%"), "{half}");
    }
}
