//! General matrix multiplication in f32. The inner loops are rten-gemm's; what is around them is ours.

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
    let options = GemmOptions { beta, bias: bias.map(BiasVector::Row), ..GemmOptions::default() };
    let right = match b {
        Rhs::View(m) => GemmInputB::Unpacked(m.view()?),
        Rhs::Packed(p) => GemmInputB::Packed(&p.0),
    };
    let extents = a.shape;
    let left = GemmInputA::Unpacked(a.view()?);
    EXECUTOR.with(|e| e.gemm(c, left, right, options)).map_err(|e| Error::op("matmul", "a", format!("a product with {extents:?}"), e))
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
