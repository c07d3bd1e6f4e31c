//! Batched matrix product: `C[i] = A[i] B[i]`, each factor read transposed where asked.
//!
//! A is [.., M, K] (or [.., K, M] with `transpose_a`), B is [.., K, N] (or [.., N, K] with `transpose_b`), C is [.., M, N]; the leading
//! dimensions are the same. FLOPs: 2 M N K a product.

use super::{Kernel, PRODUCTS, Row};
#[cfg(feature = "cuda")]
use super::support::gemm::{Factors, Gemm, Tensors};
use super::support::case::Case;
use super::support::elementwise::dims_of;
#[cfg(feature = "wgpu")]
use super::support::product::{Lies, Product, Texts, product_texts};
use crate::device::cpu::gemm::{Matrix, Rhs, gemm};
use crate::device::cpu::Args;
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("matmul");
#[cfg(feature = "wgpu")]
const SHADER: Texts = product_texts!("matmul");

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    precision: Precision::Low,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    variants: &["exact", "mma64", "mma128", "wgmma128", "wgmma256", "wgmma256x2", "skinny"],
    wgpu_variants: PRODUCTS,
    golden: Some(|case, b, input| {
        let op = MatMul { transpose_a: case.flag("transpose_a")?, transpose_b: case.flag("transpose_b")? };
        Ok(vec![("y", b.apply1(op, &[input("a")?, input("b")?])?)])
    }),
    ..Row::new("matmul", head!("matmul.rs"), cases)
};

/// The product, with the two switches.
#[derive(Debug, Clone, Copy)]
pub struct MatMul {
    /// A is stored [.., K, M].
    pub transpose_a: bool,
    /// B is stored [.., N, K].
    pub transpose_b: bool,
}

/// `a b` of the last two dimensions.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match.
pub fn matmul(b: &mut Builder, x: Value, y: Value) -> Result<Value> {
    b.apply1(MatMul { transpose_a: false, transpose_b: false }, &[x, y])
}

/// Extents of one product and how many there are.
#[derive(Debug, Clone, Copy)]
struct Extents {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
}

impl MatMul {
    fn extents(&self, a: &[usize], b: &[usize]) -> Extents {
        let last_two = |s: &[usize], swap: bool| if swap { (s[s.len() - 1], s[s.len() - 2]) } else { (s[s.len() - 2], s[s.len() - 1]) };
        let (m, k) = last_two(a, self.transpose_a);
        let (_, n) = last_two(b, self.transpose_b);
        Extents { batch: a[..a.len() - 2].iter().product(), m, n, k }
    }
}

impl Op for MatMul {
    fn stem(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("matmul");
        check.count(inputs, 2)?;
        let (a, b) = (&inputs[0], &inputs[1]);
        check.float("a", a)?;
        let rank = a.shape.iter().count();
        check.that(rank >= 2, "a", "at least two dimensions", a)?;
        check.rank("b", b, rank)?;
        check.that(a.dtype == b.dtype && a.shape[..rank - 2] == b.shape[..rank - 2], "b", format!("{} and the batch of {a}", a.dtype), b)?;
        let Extents { m, n, k, .. } = self.extents(&a.shape, &b.shape);
        let of_b = if self.transpose_b { b.shape[rank - 1] } else { b.shape[rank - 2] };
        check.that(of_b == k, "b", format!("an inner extent of {k}"), b)?;
        let mut shape: Vec<usize> = a.shape[..rank - 2].to_vec();
        shape.extend([m, n]);
        Ok(vec![a.with_shape(Shape::new(&shape)?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let Extents { batch, m, n, k } = self.extents(&inputs[0].shape, &inputs[1].shape);
        Cost::streaming(2 * (batch * m * n * k) as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let Extents { batch, m, n, k } = self.extents(args.shape(0), args.shape(1));
        let (a, b, c) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        for i in 0..batch {
            for row in 0..m {
                for col in 0..n {
                    let at = |p: usize| {
                        let a = if self.transpose_a { a[(i * k + p) * m + row] } else { a[(i * m + row) * k + p] };
                        let b = if self.transpose_b { b[(i * n + col) * k + p] } else { b[(i * k + p) * n + col] };
                        a * b
                    };
                    c[(i * m + row) * n + col] = (0..k).map(at).sum();
                }
            }
        }
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let Extents { m, n, k, .. } = self.extents(args.shape(0), args.shape(1));
        let (a, b, c) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        if m * n == 0 {
            return Ok(());
        }
        let product = |(i, c): (usize, &mut [f32])| {
            let (a, b) = (&a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
            let a = if self.transpose_a { Matrix::new(a, k, m).t() } else { Matrix::new(a, m, k) };
            let b = if self.transpose_b { Matrix::new(b, n, k).t() } else { Matrix::new(b, k, n) };
            gemm(c, a, Rhs::View(b), 0.0, None)
        };
        c.par_chunks_mut(m * n).enumerate().try_for_each(product)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let Extents { batch, m, n, k } = self.extents(&launch.ty(0).shape, &launch.ty(1).shape);
        let way = |transposed: bool| if transposed { 't' } else { 'n' };
        let name = format!("matmul_forward_{}{}", way(self.transpose_a), way(self.transpose_b));
        let factors = Factors::Matrices([0, 1].map(cuda::Operand::Input), [!self.transpose_a, self.transpose_b]);
        let tensors = Tensors { factors, results: &[cuda::Operand::Output(0)] };
        Gemm { batch, m, n, k }.launch(launch, &KERNELS, (&name, "matmul_forward_sum"), tensors, |dispatch| dispatch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let operands = [Operand::Input(0), Operand::Input(1), Operand::Output(0)];
        launch.in_pieces(self.extents(&launch.ty(0).shape, &launch.ty(1).shape).batch, &operands, |launch| {
            let Extents { batch, m, n, k } = self.extents(&launch.ty(0).shape, &launch.ty(1).shape);
            let dispatch = Dispatch::new(SHADER.scalars, "matmul_forward", operands);
            let dispatch = dispatch.constant("TRANSPOSE_A", self.transpose_a).constant("TRANSPOSE_B", self.transpose_b);
            let a = if self.transpose_a { Lies::across_k(m) } else { Lies::along_k(k) };
            let b = if self.transpose_b { Lies::along_k(k) } else { Lies::across_k(n) };
            Product { batch, m, n, k }.launch(launch, SHADER, (a, b), dispatch);
        });
        Ok(())
    }
}

/// With C = A' B', where a prime is the factor as the product reads it: dA' = dC B'^T and dB' = A'^T dC. A factor that is stored
/// transposed gets the transposed product.
fn backward(cx: &mut Backward) -> Result<()> {
    let MatMul { transpose_a: ta, transpose_b: tb } = cx.op()?;
    let (a, b) = (cx.input(0), cx.input(1));
    let Some(dc) = cx.grad(0) else { return Ok(()) };
    let product = |transpose_a, transpose_b| MatMul { transpose_a, transpose_b };
    if ta {
        cx.set_by(0, product(tb, true), &[b, dc])?;
    } else {
        cx.set_by(0, product(false, !tb), &[dc, b])?;
    }
    if tb { cx.set_by(1, product(true, ta), &[dc, a]) } else { cx.set_by(1, product(!ta, false), &[a, dc]) }
}

fn cases() -> Vec<Case> {
    let case = |batch: &[usize], m: usize, n: usize, k: usize, transpose_a: bool, transpose_b: bool| {
        let dims = |r: usize, c: usize, t: bool| dims_of(&[batch, &(if t { [c, r] } else { [r, c] })].concat());
        let name = format!("{batch:?}{m}x{n}x{k}_{}{}", if transpose_a { 't' } else { 'n' }, if transpose_b { 't' } else { 'n' });
        Case::of(name, move |b, v| b.apply1(MatMul { transpose_a, transpose_b }, &[v[0], v[1]]))
            .normal("a", dims(m, k, transpose_a))
            .normal("b", dims(k, n, transpose_b))
    };
    let mut cases = Vec::new();
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        cases.push(case(&[], 7, 5, 3, ta, tb));
        cases.push(case(&[2, 3], 17, 9, 23, ta, tb));
        cases.push(case(&[], 65, 67, 129, ta, tb));
        // What GPUs share out in other ways: few rows, few columns, long sums, many tiles.
        for (m, n) in [(3, 20), (9, 70), (70, 9), (20, 37)] {
            cases.push(case(&[], m, n, 600, ta, tb));
        }
        cases.push(case(&[130], 33, 65, 5, ta, tb));
        // By fours: few rows, few columns, few of both in slices, long sums, tiles, and tiles that are twice as tall, as wide, and both.
        for (m, n, k) in [(4, 36, 600), (12, 68, 600), (68, 12, 600), (20, 36, 1100), (36, 20, 44)] {
            cases.push(case(&[], m, n, k, ta, tb));
        }
        // By eights: more tiles than blocks, none of them full; long sums.
        cases.push(case(&[3], 136, 264, 72, ta, tb));
        cases.push(case(&[], 24, 40, 3080, ta, tb));
        for (m, n) in [(100, 36), (36, 100), (100, 100)] {
            cases.push(case(&[256], m, n, 20, ta, tb).without_gradients());
        }
        cases.push(case(&[66], 100, 72, 20, ta, tb).without_gradients());
        // By eights, with edges of tiles and strips; and sums that are long for tensor cores, too.
        cases.push(case(&[2], 136, 72, 104, ta, tb));
        cases.push(case(&[], 8, 24, 2120, ta, tb).without_gradients());
        // Tiles one below the other that meet more strips than a ring has places.
        cases.push(case(&[], 136, 24, 520, ta, tb));
    }
    // Up to 16 rows on CUDA, of several products, and of several with long sums that blocks share.
    for (batch, m, n, k) in [(3, 16, 9, 264), (2, 5, 17, 517), (2, 3, 9, 8196)] {
        cases.push(case(&[batch], m, n, k, false, true).without_gradients());
    }
    cases.extend([case(&[0], 3, 2, 5, false, true), case(&[6], 16, 16, 16, false, false), case(&[2], 3, 5, 0, false, false)]);
    cases.extend([case(&[], 1, 1, 1, false, false), case(&[3], 1, 33, 300, false, false), case(&[3], 5, 7, 600, false, false), case(&[], 3, 2, 1, false, false)]);
    cases.push(case(&[], 1024, 1024, 1024, false, false).large());
    cases
}
