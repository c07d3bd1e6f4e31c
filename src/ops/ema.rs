//! Moving averages of parameters: `avg <- d avg + (1 - d) p` for all pairs in one node, where the step was applied.
//!
//! Where the flag is 0 nothing is read or written, so that no NaN of a refused step gets in.

use super::Row;
use super::support::case::{Case, Fill};
use super::support::optimizer::BLOCK;
use crate::device::cpu::{Args, Real, for_rows};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, ..Row::new("ema", cases) };

/// Inputs: for each pair the average and the parameter, of one shape; then finite i32\[1\]. Updates the averages.
#[derive(Debug, Clone, Copy)]
pub struct Ema {
    /// d: how slowly the average forgets, in [0, 1].
    pub decay: f64,
    /// The number of pairs.
    pub pairs: usize,
}

/// Moves each average of `pairs` (average, parameter) towards its parameter where `finite` i32\[1\] is not 0.
///
/// # Errors
/// [`crate::Error::Op`] where shapes differ or `decay` is outside [0, 1], [`crate::Error::Graph`] where an average is no state.
pub fn ema(b: &mut Builder, pairs: &[(Value, Value)], decay: f64, finite: Value) -> Result<()> {
    let inputs: Vec<Value> = pairs.iter().flat_map(|&(average, parameter)| [average, parameter]).chain([finite]).collect();
    b.apply(Ema { decay, pairs: pairs.len() }, &inputs).map(drop)
}

impl Ema {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        if args.ints(2 * self.pairs)?[0] == 0 {
            return Ok(());
        }
        let share = T::of(1.0 - self.decay);
        for i in 0..self.pairs {
            let (average, parameter) = (args.state(2 * i)?, args.floats(2 * i + 1)?);
            for_rows(
                average,
                BLOCK,
                #[inline(always)]
                |block, average| {
                    for (a, &p) in average.iter_mut().zip(&parameter[block * BLOCK..]) {
                        *a += share * (p - *a);
                    }
                },
            );
        }
        Ok(())
    }
}

impl Op for Ema {
    fn stem(&self) -> &'static str {
        "ema"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("ema");
        check.count(inputs, 2 * self.pairs + 1)?;
        check.that((0.0..=1.0).contains(&self.decay), "decay", "a share in [0, 1]", self.decay)?;
        for pair in inputs[..2 * self.pairs].chunks(2) {
            check.float("average", &pair[0])?;
            check.that(pair[1].dtype.is_float() && pair[1].shape == pair[0].shape, "parameter", pair[0], pair[1])?;
        }
        check.int("finite", &inputs[2 * self.pairs])?;
        check.shape("finite", &inputs[2 * self.pairs], &[1])?;
        Ok(Vec::new())
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        let written: Vec<TensorType> = self.updates().into_iter().map(|i| inputs[i]).collect();
        Cost::streaming(written.iter().map(|ty| 3 * ty.len() as u64).sum(), inputs, &written)
    }

    fn updates(&self) -> Vec<usize> {
        (0..self.pairs).map(|i| 2 * i).collect()
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }
}

fn cases() -> Vec<Case> {
    let case = |name: &str, first: usize, second: usize, decay: f64, finite: i32| {
        Case::new(name, move |b, v| ema(b, &[(v[0], v[1]), (v[2], v[3])], decay, v[4]).map(|()| Vec::new()))
            .state("a", TensorType::f32([first]), Fill::Normal(0.0, 1.0))
            .fixed("p", [first], Fill::Normal(0.0, 1.0))
            .state("b", TensorType::f32([second]), Fill::Normal(0.0, 1.0))
            .fixed("q", [second], Fill::Normal(0.0, 1.0))
            .ints("finite", [1], Fill::Exact(vec![finite]))
    };
    let known = Case::new("known", |b, v| ema(b, &[(v[0], v[1])], 0.75, v[2]).map(|()| Vec::new()))
        .state("a", TensorType::f32([2]), Fill::Values(vec![1.0, -4.0]))
        .fixed("p", [2], Fill::Values(vec![5.0, 4.0]))
        .ints("finite", [1], Fill::Exact(vec![1]))
        .expects("a", vec![2.0, -2.0]);
    vec![
        known,
        case("two", 1, 35, 0.9, 1),
        case("several blocks", 3, 40_001, 0.999, 1),
        case("skipped", 7, 5, 0.9, 0),
        case("2x 3072x768", 3072 * 768, 3072 * 768, 0.999, 1).large(),
    ]
}
