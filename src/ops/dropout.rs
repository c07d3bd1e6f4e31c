//! Dropout: `y = x keep / (1 - p)`, where `keep` is 0 with probability p, else 1.
//!
//! The mask is not stored: it is a function of seed, step, micro-step, the operator's key and the element ([`super::support::philox`]),
//! so that the backward pass, `dx = dy keep / (1 - p)`, is the same operator on dy. About 15 integer operations an element; a kernel is
//! bound by memory.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use super::support::philox::GROUP;
use super::support::philox::{BLOCK, Mask, philox};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

pub use super::support::philox::stable_key;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("dropout");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/philox", "common/in_place", "dropout");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("dropout", head!("dropout.rs"), cases) };

/// Dropout, and its own backward pass. Inputs: x or dy of any shape; rng i32\[4\], `[seed_lo, seed_hi, step, micro_step]`. In place.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// The probability of an element to be dropped, in [0, 1).
    pub p: f64,
    /// Tells this operator's mask from those of others: [`stable_key`] of its scope.
    pub key: u64,
    /// It is applied to a gradient.
    pub backward: bool,
}

/// `x` with each element dropped with probability `p`, the others scaled by 1 / (1 - p). Nothing is appended for a `p` of 0.
///
/// # Errors
/// [`crate::Error::Op`] where `p` is outside [0, 1) or `rng` is not i32\[4\].
pub fn dropout(b: &mut Builder, x: Value, p: f64, rng: Value, key: u64) -> Result<Value> {
    if p == 0.0 { Ok(x) } else { b.apply1(Dropout { p, key, backward: false }, &[x, rng]) }
}

impl Op for Dropout {
    fn stem(&self) -> &'static str {
        "dropout"
    }

    fn pass(&self) -> &'static str {
        if self.backward { "backward" } else { "forward" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("dropout");
        check.count(inputs, 2)?;
        check.float("x", &inputs[0])?;
        check.that((0.0..1.0).contains(&self.p), "p", "a probability in [0, 1)", self.p)?;
        check.int("rng", &inputs[1])?;
        check.shape("rng", &inputs[1], &[4])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let mask = Mask::new(args.ints(1)?, self.key, self.p);
        let (x, y) = args.in_out(0, 0)?;
        for (element, y) in y.iter_mut().enumerate() {
            *y = x.map_or(*y, |x| x[element]) * mask.factor::<f64>(element as u64);
        }
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        const WIDTH: usize = 64 * BLOCK;
        let mask = Mask::new(args.ints(1)?, self.key, self.p);
        let (x, y) = args.in_out(0, 0)?;
        for_rows(
            y,
            WIDTH,
            #[inline(always)]
            |row, y| {
                let mut factors = [f32::ZERO; BLOCK];
                for (block, y) in y.chunks_mut(BLOCK).enumerate() {
                    let at = row * WIDTH + block * BLOCK;
                    mask.factors(at as u64, &mut factors);
                    match x {
                        Some(x) => {
                            for ((y, &x), f) in y.iter_mut().zip(&x[at..]).zip(factors) {
                                *y = x * f;
                            }
                        }
                        None => {
                            for (y, f) in y.iter_mut().zip(factors) {
                                *y *= f;
                            }
                        }
                    }
                }
            },
        );
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let n = launch.ty(0).len();
        let dispatch = cuda::Dispatch::new(&KERNELS, format!("dropout_forward_{}", launch.dtype()));
        let dispatch = dispatch.tensors([cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)]).count(n);
        let dispatch = dispatch.word(self.key as u32).word((self.key >> 32) as u32).word(Mask::threshold(self.p));
        launch.add(dispatch.number(1.0 / (1.0 - self.p)).over(n.div_ceil(GROUP)));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let [x, y, rng] = [Operand::Input(0), Operand::Output(0), Operand::Input(1)];
        launch.in_pieces(launch.ty(0).len(), &[x, y], |launch| {
            // A piece begins where a binding may, and so with a group.
            let (n, first) = (launch.ty(0).len(), launch.first() / GROUP);
            let dispatch = Dispatch::new(SHADER, "dropout_forward_f32", [x, y, rng]).constant("IN_PLACE", launch.in_place(0));
            let dispatch = dispatch.size(n).size(first).word(self.key as u32).word((self.key >> 32) as u32).word(Mask::threshold(self.p));
            launch.add(dispatch.number(1.0 / (1.0 - self.p)).over(n.div_ceil(GROUP)));
        });
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let op: Dropout = cx.op()?;
    let rng = cx.input(1);
    if let Some(dy) = cx.grad(0) {
        cx.set_by(0, Dropout { backward: true, ..op }, &[dy, rng])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |dims: &'static [usize], p: f64| {
        let key = stable_key("fusion.blocks.0.drop");
        Case::of(format!("{dims:?}_p{p}"), move |b, v| dropout(b, v[0], p, v[1], key)).normal("x", dims_of(dims)).ints(
            "rng",
            [4],
            Fill::Exact(vec![-1, 77, 12, 1]),
        )
    };
    let in_place = Case::of("in place", |b, v| {
        let x = super::relu::relu(b, v[0])?;
        dropout(b, x, 0.25, v[1], 3)
    });
    // The words of groups 0 to 2 of seed [5, -6], step 7, micro-step 1, from an independent Philox.
    let known = Case::of("known", |b, v| dropout(b, v[0], 0.5, v[1], stable_key("fusion.head.drop")))
        .float("x", [12], Fill::Values((1..=12).map(f64::from).collect()))
        .ints("rng", [4], Fill::Exact(vec![5, -6, 7, 1]))
        .expects("y", vec![0.0, 4.0, 6.0, 0.0, 10.0, 0.0, 0.0, 0.0, 18.0, 0.0, 22.0, 0.0]);
    // The first element's word is the threshold itself, and is not below it.
    let word = philox([0, 0, 7, 1], [5 ^ 3, 6])[0];
    let threshold = Case::of("at the threshold", move |b, v| dropout(b, v[0], f64::from(word) / 2f64.powi(32), v[1], 3));
    let threshold = threshold.normal("x", [4]).ints("rng", [4], Fill::Exact(vec![5, 6, 7, 1]));
    vec![
        known,
        threshold,
        case(&[0, 7], 0.5),
        case(&[1], 0.5),
        case(&[67], 0.1),
        case(&[3, 5, 7], 0.9),
        case(&[2, 9001], 0.3),
        in_place.float("x", [5000], Fill::Distinct).ints("rng", [4], Fill::Exact(vec![5, 6, 7, 8])),
        case(&[32, 61, 768], 0.1).large(),
    ]
}
