//! What else the machine does while something is measured.

use std::time::Instant;

/// Seconds of processor time spent so far by the whole machine and by this process, at the usual 100 ticks a second.
fn busy() -> (f64, f64) {
    let numbers = |text: String, from: usize| -> Vec<f64> { text.split_whitespace().skip(from).map_while(|v| v.parse().ok()).collect() };
    let all = numbers(std::fs::read_to_string("/proc/stat").unwrap_or_default(), 1);
    let own = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let own = numbers(own.rsplit(')').next().unwrap_or_default().to_owned(), 11);
    let sum = |v: &[f64], i: std::ops::Range<usize>| v.get(i).map_or(0.0, |v| v.iter().sum::<f64>()) / 100.0;
    (sum(&all, 0..3) + sum(&all, 5..8), sum(&own, 0..2))
}

/// Watches it.
#[derive(Debug)]
pub struct Others {
    before: (f64, f64),
    start: Instant,
}

impl Others {
    /// From now on.
    pub fn watch() -> Self {
        Others { before: busy(), start: Instant::now() }
    }

    /// Cores that other programs kept busy, on average.
    pub fn cores(&self) -> f64 {
        let (all, own) = busy();
        ((all - self.before.0) - (own - self.before.1)).max(0.0) / self.start.elapsed().as_secs_f64()
    }
}
