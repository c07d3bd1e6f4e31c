//! What a device's tensor cores can do at most: `y = rounds * a b^T`, added up product by product.
//!
//! a is [M, 64], b is [256, 64], y is [M, 256] in f32, M a multiple of 128. The model does not run it. `escnet peaks` measures with it the roof that products in
//! 16 bits are held against: factors are read once, sums stay in registers, and with many rounds nothing but multiplying is left.

use super::support::case::{Case, Fill};
use super::{Kernel, Row};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Fragments, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, TensorType};

/// The row of the table.
pub const ROW: Row = Row {
    precision: Precision::Low,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    variants: &["exact", "mma", "wgmma"],
    ..Row::new("peak_product", head!("peak_product.rs"), cases)
};

const DEPTH: usize = 64;
const WIDE: usize = 256;
/// Rows that the largest block of a kernel takes.
const HIGH: usize = 128;
/// Invocations of a workgroup.
#[cfg(feature = "wgpu")]
const WIDTH: usize = 256;

/// Inputs: a, b. Output: y.
#[derive(Debug, Clone, Copy)]
pub struct PeakProduct {
    /// How often the product is added.
    pub rounds: usize,
}

impl PeakProduct {
    /// The types that it takes for so many rows.
    pub fn types(rows: usize, dtype: DType) -> [TensorType; 2] {
        [[rows, DEPTH], [WIDE, DEPTH]].map(|extents: [usize; 2]| TensorType::new(dtype, extents))
    }
}

/// `rounds` times `a` times the transpose of `w`.
///
/// # Errors
/// [`crate::Error::Op`] where the extents are others.
pub fn peak_product(b: &mut Builder, a: Value, w: Value, rounds: usize) -> Result<Value> {
    b.apply1(PeakProduct { rounds }, &[a, w])
}

impl Op for PeakProduct {
    fn stem(&self) -> &'static str {
        "peak_product"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("peak_product");
        check.count(inputs, 2)?;
        let [a, b] = [inputs[0], inputs[1]];
        let is_a = a.dtype.is_float() && a.shape.first().is_some_and(|&rows| a == Self::types(rows, a.dtype)[0] && rows.is_multiple_of(HIGH));
        check.that(is_a, "a", "[M, 64], M a multiple of 128", a)?;
        check.that(b == Self::types(0, a.dtype)[1], "b", "[256, 64] of a's type", b)?;
        Ok(vec![TensorType::f32([a.shape[0], WIDE])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(2 * (self.rounds * DEPTH * outputs[0].len()) as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        const KERNELS: cuda::Image = cuda::image!("peak_product");
        let (dtype, rows, arch) = (launch.ty(0).dtype, launch.ty(0).shape[0], launch.arch());
        let is_half = dtype != DType::F32;
        let takes = |variant: &str| match variant {
            "wgmma" => is_half && arch == 90,
            "mma" => is_half && arch >= 80,
            _ => true,
        };
        let variant = launch.variant().filter(|variant| takes(variant)).or_else(|| ["wgmma", "mma", "exact"].into_iter().find(|variant| takes(variant)));
        let variant = variant.unwrap_or("exact").to_owned();
        let name = if variant == "exact" { String::new() } else { format!("{variant}_") };
        let dispatch = cuda::Dispatch::new(&KERNELS, format!("peak_product_forward_{name}{}", dtype.name()));
        let dispatch = dispatch.tensors([cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)]);
        launch.add(match variant.as_str() {
            "wgmma" => dispatch.sizes([self.rounds]).rows(rows / HIGH).shared((HIGH + WIDE) * DEPTH * 2 + 1024),
            "mma" => dispatch.sizes([self.rounds]).rows(rows / 16),
            _ => dispatch.count(rows * WIDE).sizes([self.rounds]).over(rows * WIDE),
        });
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let [a, b, y] = [Operand::Input(0), Operand::Input(1), Operand::Output(0)];
        let fragments = launch.abilities().fragments.filter(|_| launch.is_half());
        launch.in_pieces(launch.ty(0).shape[0] / HIGH, &[a, y], |launch| {
            let n = launch.ty(0).shape[0] * WIDE;
            launch.add(match fragments {
                Some(Fragments { edge, subgroup }) => {
                    let subgroups = WIDTH / subgroup;
                    // Each takes 2 x 2 fragments. 128 rows are whole workgroups, whatever the edge and the subgroup's size.
                    let workgroups = n / (4 * edge * edge * subgroups);
                    let dispatch = Dispatch::new(shader!("peak_product_fragments"), "peak_product_forward_fragments_f32", [a, b, y]);
                    dispatch.constant("SUBGROUPS", format!("{subgroups}u")).fragments(edge).trusted().size(workgroups).size(self.rounds).rows(workgroups)
                }
                None => Dispatch::new(shader!("peak_product"), "peak_product_forward_f32", [a, b, y]).size(n).size(self.rounds).over(n),
            });
        });
        Ok(())
    }
}

impl PeakProduct {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (a, b) = (args.floats(0)?, args.floats(1)?);
        let y = args.out(0)?;
        for_rows(
            y,
            WIDE,
            #[inline(always)]
            |row, y| {
                let a = &a[row * DEPTH..][..DEPTH];
                for (y, b) in y.iter_mut().zip(b.chunks_exact(DEPTH)) {
                    *y = (0..self.rounds).fold(T::ZERO, |sum, _| a.iter().zip(b).fold(sum, |sum, (&a, &b)| sum + a * b));
                }
            },
        );
        Ok(())
    }
}

fn cases() -> Vec<Case> {
    let case = |rows: usize, rounds: usize| {
        let case = Case::of(format!("{rows}, {rounds} rounds"), move |b, v| peak_product(b, v[0], v[1], rounds));
        case.fixed("a", [rows, DEPTH], Fill::Normal(0.0, 1.0)).fixed("b", [WIDE, DEPTH], Fill::Normal(0.0, 1.0))
    };
    let all_one = |n: usize| Fill::Values(vec![1.0; n * DEPTH]);
    let ones = Case::of("ones", |b, v| peak_product(b, v[0], v[1], 3)).fixed("a", [HIGH, DEPTH], all_one(HIGH)).fixed("b", [WIDE, DEPTH], all_one(WIDE));
    vec![ones.expects("y", vec![192.0; HIGH * WIDE]), case(128, 1), case(384, 2), case(256, 0), case(128, 9)]
}
