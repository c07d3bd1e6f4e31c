//! Numbers of a [`Fill`] for benchmarks: the same everywhere for the same name, and quickly there.

use super::case::Fill;
use super::philox::{philox, stable_key};
use crate::error::Result;
use crate::tensor::{DType, Tensor, TensorType};
use half::{bf16, f16};

/// So many different numbers are drawn for a large tensor; then they come again. A prime, so that rows of a matrix do not look alike.
const PERIOD: usize = 65_537;

/// A source of random words.
#[derive(Debug, Clone, Copy)]
pub struct Draws {
    key: [u32; 2],
}

impl Draws {
    /// The source of this name.
    pub fn new(name: &str) -> Self {
        let key = stable_key(name);
        Draws { key: [key as u32, (key >> 32) as u32] }
    }

    /// A number strictly between 0 and 1.
    fn unit(self, n: usize, stream: u32) -> f64 {
        (f64::from(philox([n as u32, stream, 0, 0], self.key)[0]) + 0.5) / 4_294_967_296.0
    }

    /// A normal number, by Box and Muller.
    fn normal(self, n: usize) -> f64 {
        libm::sqrt(-2.0 * libm::log(self.unit(n, 0))) * libm::cos(std::f64::consts::TAU * self.unit(n, 1))
    }

    /// A tensor of this type, its numbers rounded to what it stores.
    ///
    /// # Errors
    /// Where the fill has numbers of its own, and not as many as the tensor.
    pub fn tensor(self, ty: &TensorType, fill: &Fill) -> Result<Tensor> {
        let n = ty.len();
        let integers = |of: &dyn Fn(usize) -> i32| Tensor::from_i32(ty.shape, (0..n).map(of).collect());
        let floats = |of: &dyn Fn(usize) -> f64| {
            let drawn: Vec<f32> = (0..n.min(PERIOD)).map(|i| stored(of(i), ty.dtype)).collect();
            Tensor::from_f32(ty.shape, drawn.iter().copied().cycle().take(n).collect())
        };
        match fill {
            Fill::Normal(mean, deviation) => floats(&|i| mean + deviation * self.normal(i)),
            Fill::Uniform(low, high) => floats(&|i| low + (high - low) * self.unit(i, 0)),
            Fill::Distinct => floats(&|i| (i as f64 + 0.5 - n.min(PERIOD) as f64 / 2.0) * 4.0 / n.min(PERIOD) as f64),
            Fill::Ints(low, high) => integers(&|i| low + (self.unit(i, 0) * f64::from(high - low)) as i32),
            Fill::PrefixMask => {
                let width = ty.shape.rows_and_width().1.max(1);
                integers(&|i| i32::from(i % width == 0 || ((i % width) as f64) < self.unit(i / width, 0) * width as f64))
            }
            Fill::Exact(values) => Tensor::from_i32(ty.shape, values.clone()),
            Fill::Values(values) => Tensor::from_f32(ty.shape, values.iter().map(|&x| stored(x, ty.dtype)).collect()),
        }
    }
}

fn stored(x: f64, dtype: DType) -> f32 {
    match dtype {
        DType::F16 => f16::from_f64(x).to_f32(),
        DType::BF16 => bf16::from_f64(x).to_f32(),
        _ => x as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_told_and_come_again() -> Result<()> {
        let draws = Draws::new("x");
        let normal = draws.tensor(&TensorType::f32([100_000]), &Fill::Normal(1.0, 2.0))?.to_f32();
        let mean = normal.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e5;
        let square = normal.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / 1e5;
        assert!((mean - 1.0).abs() < 0.03 && (square - 4.0).abs() < 0.1, "{mean} {square}");
        assert_eq!(normal[..9], normal[PERIOD..PERIOD + 9]);
        let ints = draws.tensor(&TensorType::i32([1000]), &Fill::Ints(-3, 4))?;
        let ints = ints.as_i32().unwrap_or_default();
        assert!(ints.iter().all(|i| (-3..4).contains(i)) && (-3..4).all(|i| ints.contains(&i)));
        let mask = draws.tensor(&TensorType::i32([9, 20]), &Fill::PrefixMask)?;
        assert!(mask.as_i32().unwrap_or_default().chunks(20).all(|row| row[0] == 1 && row.windows(2).all(|w| w[0] >= w[1])));
        let half = draws.tensor(&TensorType::new(DType::BF16, [8]), &Fill::Normal(0.0, 1.0))?.to_f32();
        assert!(half.iter().all(|x| x.to_bits().trailing_zeros() >= 16));
        Ok(())
    }
}
