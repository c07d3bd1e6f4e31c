//! General matrix multiplication in f32. The inner loops are rten-gemm's; what is around them is ours.

use super::{dot, vectorized};
use crate::error::{Error, Result};
use rayon::prelude::*;
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_tensor::NdTensorView;
use std::sync::Arc;

thread_local! {
    /// Picks the inner loop for this machine; cheap to make, but it may not cross threads.
    static EXECUTOR: GemmExecutor<f32> = GemmExecutor::new();
}

/// A view of a matrix with any strides, in elements.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// `rows` x `cols`, row-major and contiguous.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, [rows, cols], [cols, 1])
    }

    /// Any strides.
    pub fn strided(data: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        Matrix { data, shape, strides }
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        let ([r, c], [s, t]) = (self.shape, self.strides);
        Matrix { data: self.data, shape: [c, r], strides: [t, s] }
    }

    fn view(&self) -> Result<NdTensorView<'a, f32, 2>> {
        NdTensorView::from_data_with_strides(self.shape, self.data, self.strides)
            .map_err(|_| Error::op("matmul", "matrix", format!("elements for {:?} by {:?}", self.shape, self.strides), self.data.len()))
    }
}

/// The right-hand matrix, K x N, in the layout of the inner loops.
pub struct PackedB(PackedBMatrix<f32>);

impl PackedB {
    /// Rearranges a constant matrix once.
    ///
    /// # Errors
    /// [`Error::Op`] where the view does not fit its data.
    pub fn new(b: Matrix) -> Result<Arc<Self>> {
        let view = b.view()?;
        Ok(Arc::new(PackedB(EXECUTOR.with(|e| e.prepack_b(view)))))
    }
}

/// The right-hand matrix, K x N.
#[derive(Clone, Copy)]
pub enum Rhs<'a> {
    /// As it lies in memory.
    View(Matrix<'a>),
    /// Rearranged before.
    Packed(&'a PackedB),
}

/// `c = a b + beta c (+ bias of each column)`, with `a` M x K, `b` K x N, `c` M x N contiguous and row-major.
///
/// # Errors
/// [`Error::Op`] where the extents do not match.
pub fn gemm(c: &mut [f32], a: Matrix, b: Rhs, beta: f32, bias: Option<&[f32]>) -> Result<()> {
    if let (1, Rhs::View(m)) = (a.shape[0], b) {
        return vector_by_matrix(c, a, m, beta, bias);
    }
    let options = GemmOptions { beta, bias: bias.map(BiasVector::Row), ..GemmOptions::default() };
    let right = match b {
        Rhs::View(m) => GemmInputB::Unpacked(m.view()?),
        Rhs::Packed(p) => GemmInputB::Packed(&p.0),
    };
    let extents = a.shape;
    let left = GemmInputA::Unpacked(a.view()?);
    EXECUTOR.with(|e| e.gemm(c, left, right, options)).map_err(|e| Error::op("matmul", "a", format!("a product with {extents:?}"), e))
}

/// [`gemm`] for a single row and a matrix as it lies in memory: bound by reading the matrix, so it is walked as it lies. (The crate's own
/// path for this case splits its work by the number of threads, and with it the order of additions.)
fn vector_by_matrix(c: &mut [f32], a: Matrix, b: Matrix, beta: f32, bias: Option<&[f32]>) -> Result<()> {
    let ([k, n], [down, across]) = (b.shape, b.strides);
    let fits = a.shape[1] == k && c.len() == n && bias.is_none_or(|b| b.len() == n);
    if !fits {
        return Err(Error::op("matmul", "a", format!("a row of {k} for {n} results"), format!("{:?} for {}", a.shape, c.len())));
    }
    a.view()?;
    b.view()?;
    let a: Vec<f32> = (0..k).map(|i| a.data[i * a.strides[1]]).collect();
    let start = |j: usize, before: f32| bias.map_or(0.0, |b| b[j]) + if beta == 0.0 { 0.0 } else { beta * before };
    const BLOCK: usize = 64;
    c.par_chunks_mut(BLOCK).enumerate().for_each(|(block, c)| {
        vectorized(
            #[inline(always)]
            || {
                let first = block * BLOCK;
                for (j, c) in (first..).zip(c.iter_mut()) {
                    *c = start(j, *c);
                }
                if down == 1 {
                    for (j, c) in (first..).zip(c.iter_mut()) {
                        *c += dot(&a, &b.data[j * across..][..k]);
                    }
                } else {
                    for (i, &a) in a.iter().enumerate() {
                        for (j, c) in (first..).zip(c.iter_mut()) {
                            *c += a * b.data[i * down + j * across];
                        }
                    }
                }
            },
        );
    });
    Ok(())
}

/// `to = from^T`, with `from` of `rows` x `cols`: square tiles, so that both sides are read and written by whole cache lines.
pub fn transpose(to: &mut [f32], from: &[f32], rows: usize, cols: usize) {
    const TILE: usize = 16;
    if rows == 0 || cols == 0 {
        return;
    }
    let tile_rows = |left: usize, to: &mut [f32]| {
        for top in (0..rows).step_by(TILE) {
            let height = TILE.min(rows - top);
            let mut tile = [[0.0; TILE]; TILE];
            let width = TILE.min(cols - left);
            for (r, tile) in tile[..height].iter_mut().enumerate() {
                tile[..width].copy_from_slice(&from[(top + r) * cols + left..][..width]);
            }
            for (c, to) in to.chunks_exact_mut(rows).enumerate() {
                for (to, tile) in to[top..top + height].iter_mut().zip(&tile) {
                    *to = tile[c];
                }
            }
        }
    };
    to.par_chunks_mut(TILE * rows).enumerate().for_each(|(n, to)| tile_rows(n * TILE, to));
}
