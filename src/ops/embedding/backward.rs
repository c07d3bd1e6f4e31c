//! The gradients of the tables.

#[cfg(feature = "cuda")]
use super::KERNELS;
use crate::device::cpu::{Args, Real, for_rows, sum_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Columns, Dispatch, Launch, Operand, Summed, shader};
use crate::error::Result;
use crate::op::{Check, Cost, Op};
#[cfg(feature = "cuda")]
use crate::ops::gather::cuda_scatter_add;
#[cfg(feature = "wgpu")]
use crate::ops::gather::launch_scatter_add;
use crate::ops::gather::{row_at, scatter_add};
use crate::tensor::TensorType;

#[cfg(feature = "wgpu")]
const BACKWARD_POSITION: &str = shader!("embedding_backward_position");
#[cfg(feature = "wgpu")]
const BACKWARD_TYPE: &str = shader!("common/columns", "common/column_sums", "embedding_backward_type");

/// The gradient of the table. Inputs: dy, ids.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingBackwardTable {
    /// Rows of the table.
    pub rows: usize,
}

/// The gradient of the positions. Inputs: dy, offset.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingBackwardPosition {
    /// Rows of the table.
    pub rows: usize,
}

/// The gradient of the token types: the sum of dy in the first row, zero in the others. Inputs: dy.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingBackwardType {
    /// Rows of the table.
    pub rows: usize,
}

impl Op for EmbeddingBackwardTable {
    fn stem(&self) -> &'static str {
        "embedding"
    }

    fn pass(&self) -> &'static str {
        "backward_table"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("embedding");
        check.count(inputs, 2)?;
        check.float("dy", &inputs[0])?;
        check.int("ids", &inputs[1])?;
        let (rows, width) = inputs[0].shape.rows_and_width();
        check.that(rows == inputs[1].len(), "dy", format!("{} and a width", inputs[1].shape), inputs[0])?;
        Ok(vec![inputs[0].with_shape([self.rows, width])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        backward_table(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        backward_table(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let width = launch.ty(0).shape.rows_and_width().1;
        cuda_scatter_add(launch, self.rows, width);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let width = launch.ty(0).shape.rows_and_width().1;
        launch_scatter_add(launch, self.rows, width);
        Ok(())
    }
}

fn backward_table<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (_, width) = args.ty(0).shape.rows_and_width();
    let (dy, ids, dtable) = (args.floats(0)?, args.ints(1)?, args.out(0)?);
    scatter_add(dtable, dy, width, ids);
    Ok(())
}

impl Op for EmbeddingBackwardPosition {
    fn stem(&self) -> &'static str {
        "embedding"
    }

    fn pass(&self) -> &'static str {
        "backward_position"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("embedding");
        check.count(inputs, 2)?;
        check.float("dy", &inputs[0])?;
        check.that(inputs[0].shape.iter().count() >= 2, "dy", "at least two dimensions", inputs[0])?;
        check.int("offset", &inputs[1])?;
        check.shape("offset", &inputs[1], &[1])?;
        Ok(vec![inputs[0].with_shape([self.rows, inputs[0].shape.rows_and_width().1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        backward_position(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        backward_position(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let shape = launch.ty(0).shape;
        let (columns, (count, width)) = (shape[shape.rank() - 2], shape.rows_and_width());
        let n = self.rows * width;
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
        let dispatch = cuda::Dispatch::new(&KERNELS, "embedding_backward_position_f32").tensors(tensors).count(n);
        launch.add(dispatch.sizes([width, count, columns]).over(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let shape = launch.ty(0).shape;
        let columns = shape.iter().rev().nth(1).copied().unwrap_or(1);
        let (sequences, [dy, offset, dtable]) = (shape.rows_and_width().0 / columns.max(1), [Operand::Input(0), Operand::Input(1), Operand::Output(0)]);
        launch.in_summed_pieces(sequences, &[dy], &[dtable], |launch| {
            let (count, width) = launch.ty(0).shape.rows_and_width();
            let dispatch = Dispatch::new(BACKWARD_POSITION, "embedding_backward_position_f32", [dy, offset, dtable]);
            launch.add(dispatch.size(self.rows).size(width).size(count).size(columns).over(self.rows * width));
        });
        Ok(())
    }
}

fn backward_position<T: Real>(args: &mut Args<T>) -> Result<()> {
    let shape = args.shape(0);
    let (columns, width) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let (dy, offset, dtable) = (args.floats(0)?, args.ints(1)?[0], args.out(0)?);
    for_rows(
        dtable,
        width,
        #[inline(always)]
        |row, sum| {
            sum.fill(T::ZERO);
            if let Some(column) = row_at((row as i32).wrapping_sub(offset), columns) {
                for sequence in dy.chunks_exact(columns * width) {
                    for (s, &d) in sum.iter_mut().zip(&sequence[column * width..]) {
                        *s += d;
                    }
                }
            }
        },
    );
    Ok(())
}

impl Op for EmbeddingBackwardType {
    fn stem(&self) -> &'static str {
        "embedding"
    }

    fn pass(&self) -> &'static str {
        "backward_type"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("embedding");
        check.count(inputs, 1)?;
        check.float("dy", &inputs[0])?;
        Ok(vec![inputs[0].with_shape([self.rows, inputs[0].shape.rows_and_width().1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        backward_type(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        backward_type(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (count, width) = launch.ty(0).shape.rows_and_width();
        let kernel = |partials| {
            cuda::Dispatch::new(&KERNELS, "embedding_backward_type_f32").tensors([partials, cuda::Operand::Input(0), cuda::Operand::Output(0)])
        };
        launch.sum_columns(cuda::Columns::summed(count, width), cuda::Summed::Sums(1), kernel, |dispatch| dispatch.sizes([self.rows]));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let (count, width) = launch.ty(0).shape.rows_and_width();
        let dispatch = Dispatch::new(BACKWARD_TYPE, "embedding_backward_type_f32", [Operand::Input(0), Operand::Output(0)]);
        launch.sum_columns(Columns::summed(count, width), Summed::Sums(1), dispatch.size(self.rows), &[Operand::Input(0)]);
        Ok(())
    }
}

fn backward_type<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (rows, width) = args.ty(0).shape.rows_and_width();
    let (dy, dtable) = (args.floats(0)?, args.out(0)?);
    if dtable.is_empty() {
        return Ok(());
    }
    let (first, others) = dtable.split_at_mut(width);
    others.fill(T::ZERO);
    sum_rows(
        first,
        rows,
        #[inline(always)]
        |row, sum| {
            for (s, &d) in sum.iter_mut().zip(&dy[row * width..]) {
                *s += d;
            }
        },
    );
    Ok(())
}
