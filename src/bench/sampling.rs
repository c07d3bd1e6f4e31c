//! How often something is measured, and what is made of the samples.

use crate::graph::Clocked;
use std::time::{Duration, Instant};

/// When enough is measured: after at least so many samples and so long, once they agree; or when time is up, even if that is less.
#[derive(Debug, Clone, PartialEq)]
pub struct Patience {
    /// The fewest samples.
    pub samples: usize,
    /// The shortest time that they take together.
    pub least: Duration,
    /// The noise that is small enough: the standard error of the mean, as a share of the mean.
    pub noise: f64,
    /// When time is up. What is not quiet then is marked so.
    pub most: Duration,
}

impl Default for Patience {
    /// Ten samples, half a second, half a percent, fifteen seconds.
    fn default() -> Self {
        Patience { samples: 10, least: Duration::from_millis(500), noise: 0.005, most: Duration::from_secs(15) }
    }
}

/// Times of one subject.
#[derive(Debug, Clone)]
pub struct Samples {
    patience: Patience,
    begun: Instant,
    taken: Duration,
    device: Vec<f64>,
    host: Vec<f64>,
}

/// What samples say, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Half of them are below it.
    pub median: f64,
    /// A twentieth of them is below it.
    pub p5: f64,
    /// A twentieth of them is above it.
    pub p95: f64,
}

impl Samples {
    /// None yet.
    pub fn new(patience: Patience) -> Self {
        Samples { patience, begun: Instant::now(), taken: Duration::ZERO, device: Vec::new(), host: Vec::new() }
    }

    /// Adds one run.
    pub fn add(&mut self, clocked: Clocked) {
        self.host.push(clocked.host.as_secs_f64());
        self.device.push(clocked.device.unwrap_or(clocked.host).as_secs_f64());
        self.taken = self.begun.elapsed();
    }

    /// Whether another is to be taken.
    pub fn wants_more(&self) -> bool {
        self.device.is_empty() || (self.begun.elapsed() < self.patience.most && !self.is_quiet())
    }

    /// Whether they are as many, took as long and agree as well as was asked.
    pub fn is_quiet(&self) -> bool {
        let Patience { samples, least, .. } = self.patience;
        self.device.len() >= samples && self.taken >= least && self.noise() <= self.patience.noise
    }

    /// The standard error of the mean, as a share of the mean.
    pub fn noise(&self) -> f64 {
        let n = self.device.len() as f64;
        let mean = self.device.iter().sum::<f64>() / n;
        let square = self.device.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        if n < 2.0 || mean == 0.0 { f64::INFINITY } else { (square / n).sqrt() / mean }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.device.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.device.is_empty()
    }

    /// By the device's clock, or the host's where it has none.
    pub fn device(&self) -> Summary {
        summary(&self.device)
    }

    /// By the host's clock.
    pub fn host(&self) -> Summary {
        summary(&self.host)
    }
}

/// Median and percentiles, between neighbours where they fall there; 0 where there is nothing.
pub fn summary(samples: &[f64]) -> Summary {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * sorted.len().saturating_sub(1) as f64;
        let [low, high] = [place.floor(), place.ceil()].map(|i| sorted.get(i as usize).copied().unwrap_or(0.0));
        low + (high - low) * place.fract()
    };
    Summary { median: at(0.5), p5: at(0.05), p95: at(0.95) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(patience: Patience, seconds: &[f64]) -> Samples {
        let mut samples = Samples::new(patience);
        for &s in seconds {
            samples.add(Clocked { host: Duration::from_secs_f64(2.0 * s), device: Some(Duration::from_secs_f64(s)) });
        }
        samples
    }

    #[test]
    fn percentiles_fall_between_neighbours() {
        let numbers: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(summary(&numbers), Summary { median: 50.0, p5: 5.0, p95: 95.0 });
        assert_eq!(summary(&[1.0, 2.0]), Summary { median: 1.5, p5: 1.05, p95: 1.95 });
        assert_eq!(summary(&[]), Summary { median: 0.0, p5: 0.0, p95: 0.0 });
    }

    #[test]
    fn sampling_ends_once_samples_agree() {
        let quick = Patience { least: Duration::ZERO, samples: 3, noise: 0.01, most: Duration::from_secs(1000) };
        assert!(samples(quick.clone(), &[]).wants_more());
        assert!(samples(quick.clone(), &[1.0, 1.0]).wants_more());
        assert!(!samples(quick.clone(), &[1.0, 1.0, 1.0]).wants_more());
        assert!(samples(quick.clone(), &[1.0, 1.5, 1.0]).wants_more());
        let late = Patience { most: Duration::ZERO, ..quick.clone() };
        let loud = samples(late.clone(), &[1.0, 1.5, 1.0]);
        assert!(!loud.wants_more() && !loud.is_quiet());
        assert!(samples(late, &[]).wants_more());
        let slow = Patience { least: Duration::from_secs(1000), ..quick };
        assert!(samples(slow.clone(), &[1.0; 9]).wants_more());
        // Time was up before that: they agree, but nobody knows how they drift.
        let short = samples(Patience { most: Duration::ZERO, ..slow }, &[1.0; 9]);
        assert!(!short.wants_more() && !short.is_quiet());
    }

    #[test]
    fn the_device_s_clock_counts_where_there_is_one() {
        let both = samples(Patience::default(), &[1.0, 1.0]);
        assert_eq!([both.device().median, both.host().median], [1.0, 2.0]);
        let mut one = Samples::new(Patience::default());
        one.add(Clocked { host: Duration::from_secs(3), device: None });
        assert_eq!([one.device().median, one.host().median], [3.0, 3.0]);
    }
}
