//! Axes: which values they span, where their ticks stand and what is written there.

/// How values are laid out and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Evenly, over what the values span.
    Plain,
    /// Evenly, 0 included.
    FromZero,
    /// As that, in whole numbers.
    Steps,
    /// Shares, written in per cent, 0 included and 1 not passed.
    Percent,
    /// By their logarithms.
    Log,
}

/// One axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    reading: Reading,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
    /// Labels are values over ten to this.
    exponent: i32,
}

impl Axis {
    /// An axis over these values, with some `wanted` ticks. The values are finite, those of a logarithmic axis positive.
    pub fn new(reading: Reading, (least, most): (f64, f64), wanted: usize) -> Self {
        if reading == Reading::Log {
            return Self::log(least, most);
        }
        let from_zero = reading != Reading::Plain || (least >= 0.0 && least < 0.25 * most);
        let least = if from_zero { least.min(0.0) } else { least };
        let span = if most > least { most - least } else { most.abs().max(1e-12) };
        let step = nice(span / wanted.max(1) as f64).max(if reading == Reading::Steps { 1.0 } else { 0.0 });
        let (from, mut to) = ((least / step + 1e-9).floor() * step, (most / step - 1e-9).ceil() * step);
        if to <= from {
            to = from + step;
        }
        if reading == Reading::Percent {
            to = to.min(1.0_f64.max(most));
        }
        let count = ((to - from) / step + 1e-9) as i64;
        let ticks = (0..=count).map(|i| from + i as f64 * step).collect();
        let largest = from.abs().max(to.abs());
        let exponent = if (1e-2..1e6).contains(&largest) { 0 } else { largest.log10().floor() as i32 };
        Axis { reading, from, to, ticks, exponent }
    }

    /// Decades, at most twelve, with 2 and 5 between them where there are few.
    fn log(least: f64, most: f64) -> Self {
        let least = least.max(most * 1e-12);
        let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        let fine: &[f64] = if high - low <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = ((high - low) / 6 + 1) as usize;
        let all: Vec<f64> = (low..=high).step_by(every).flat_map(|decade| fine.iter().map(move |m| m * 10f64.powi(decade))).collect();
        let from = all.iter().copied().filter(|&t| t <= least * 1.0001).fold(10f64.powi(low), f64::max);
        let to = all.iter().copied().filter(|&t| t >= most * 0.9999 && t > from).fold(f64::INFINITY, f64::min);
        let to = if to.is_finite() { to } else { 10f64.powi(high.max(low + 1)) };
        Axis { reading: Reading::Log, from, to, ticks: all.into_iter().filter(|t| (from..=to).contains(t)).collect(), exponent: 0 }
    }

    /// Where a value stands: 0 at the axis's begin, 1 at its end.
    pub fn at(&self, value: f64) -> f64 {
        match self.reading {
            Reading::Log => (value.ln() - self.from.ln()) / (self.to.ln() - self.from.ln()),
            _ => (value - self.from) / (self.to - self.from),
        }
    }

    /// The ticks and their labels.
    pub fn ticks(&self) -> impl Iterator<Item = (f64, String)> + '_ {
        self.ticks.iter().map(|&value| (value, self.label(value)))
    }

    /// What labels are to be multiplied by, where that is not 1.
    pub fn factor(&self) -> Option<String> {
        (self.exponent != 0).then(|| format!("× 10{}", superscript(self.exponent)))
    }

    fn label(&self, value: f64) -> String {
        let step = self.ticks.get(1).zip(self.ticks.first()).map_or(1.0, |(b, a)| b - a);
        match self.reading {
            Reading::Log if (1e-3..1e4).contains(&value) => short(value),
            Reading::Log => match value.log10().round() as i32 {
                decade if (value / 10f64.powi(decade) - 1.0).abs() < 1e-6 => format!("10{}", superscript(decade)),
                _ => format!("{value:e}"),
            },
            Reading::Percent => format!("{:.*}%", decimals(step * 100.0), value * 100.0),
            Reading::Plain | Reading::FromZero | Reading::Steps => {
                let scale = 10f64.powi(self.exponent);
                format!("{:.*}", decimals(step / scale), value / scale)
            }
        }
    }
}

/// The next larger of 1, 2, 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let decade = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * decade >= step * 0.999).unwrap_or(10.0);
    factor * decade
}

/// As many as a step between ticks needs.
fn decimals(step: f64) -> usize {
    (-(step.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize
}

/// A number with three digits that count, and no zeros after them.
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    if !(-6..=6).contains(&digits) {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.*}", digits.max(0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn superscript(number: i32) -> String {
    let raise = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
    };
    number.to_string().chars().map(raise).collect()
}
