//! Where the highlighted words look.

use super::Classification;
use crate::error::{Error, Result};

/// The gate-weighted mean of the words' attention over the grid, as multiples of an even gaze: 1 is what every cell would get if the words
/// looked everywhere alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Heat {
    cells: Vec<f32>,
    side: usize,
    /// The value that the hottest colour stands for.
    top: f32,
}

/// The least that the hottest colour stands for, so that an even gaze does not look like a pointed one.
const LEAST_TOP: f32 = 2.0;

impl Heat {
    /// The map of a result; none where the model has no highlight, the caption no words, or every gate is shut.
    ///
    /// # Errors
    /// [`Error::Argument`] where a word's attention has not one weight a cell.
    pub fn of(result: &Classification) -> Result<Option<Self>> {
        let side = result.grid;
        let mut cells = vec![0.0; side * side];
        let mut sum = 0.0;
        for word in &result.words {
            if word.attention.len() != cells.len() {
                let expected = format!("{} weights", cells.len());
                return Err(Error::Argument { name: "attention", expected, got: word.attention.len().to_string() });
            }
            cells.iter_mut().zip(&word.attention).for_each(|(cell, a)| *cell += word.gate * a);
            sum += word.gate;
        }
        if sum.is_nan() || sum <= 0.0 || cells.is_empty() {
            return Ok(None);
        }
        let even = cells.len() as f32 / sum;
        cells.iter_mut().for_each(|cell| *cell *= even);
        let mut heat = Heat { cells, side, top: LEAST_TOP };
        let fine = 8 * side;
        let at = |i: usize| (i as f64 + 0.5) / fine as f64;
        let highest = (0..fine * fine).map(|i| heat.at([at(i % fine), at(i / fine)])).fold(0.0, f32::max);
        heat.top = highest.max(LEAST_TOP);
        Ok(Some(heat))
    }

    /// The value at a point of the network's square, 0..1 along each side: a cubic B-spline through the cells, smooth and never negative.
    pub fn at(&self, point: [f64; 2]) -> f32 {
        let [columns, rows] = point.map(|p| self.taps(p));
        rows.iter().map(|&(row, wy)| wy * columns.iter().map(|&(column, wx)| wx * self.cells[row * self.side + column]).sum::<f32>()).sum()
    }

    /// The four cells that make a point along one side, and their weights. Beyond the edge stand copies of the outermost cell.
    fn taps(&self, point: f64) -> [(usize, f32); 4] {
        let at = point * self.side as f64 - 0.5;
        let (whole, t) = (at.floor(), (at - at.floor()) as f32);
        let (t2, t3) = (t * t, t * t * t);
        let weights = [(1.0 - t).powi(3), 3.0 * t3 - 6.0 * t2 + 4.0, -3.0 * t3 + 3.0 * t2 + 3.0 * t + 1.0, t3];
        let cell = |i: usize| (whole as i64 + i as i64 - 1).clamp(0, self.side as i64 - 1) as usize;
        std::array::from_fn(|i| (cell(i), weights[i] / 6.0))
    }

    /// The value that the hottest colour stands for.
    pub fn top(&self) -> f32 {
        self.top
    }

    /// The colour of a value.
    pub fn colour(&self, value: f32) -> [u8; 3] {
        colour(value / self.top)
    }
}

/// From cold, 0, to hot, 1: indigo, plum, red, orange, pale yellow. Its lightness rises evenly, so it also reads in gray.
fn colour(t: f32) -> [u8; 3] {
    const STOPS: [[f32; 3]; 6] =
        [[24.0, 16.0, 72.0], [92.0, 22.0, 110.0], [168.0, 46.0, 95.0], [225.0, 86.0, 52.0], [251.0, 155.0, 20.0], [250.0, 232.0, 120.0]];
    let t = t.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let i = (t as usize).min(STOPS.len() - 2);
    let part = t - i as f32;
    std::array::from_fn(|c| (STOPS[i][c] + part * (STOPS[i + 1][c] - STOPS[i][c])).round() as u8)
}
