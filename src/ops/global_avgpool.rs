//! Mean over a picture: `y[b, c] = sum over h, w of x[b, h, w, c] / (H W)`. x is [B, H, W, C], y is [B, C].

use super::{Kernel, Row};
use super::conv2d::NCHW_TO_NHWC;
use super::support::case::Case;
use super::transpose::transpose;
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Columns, Dispatch, Launch, Operand, Summed, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("global_avgpool");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/columns", "global_avgpool");

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    precision: Precision::Full,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    golden: Some(|_, b, input| {
        let x = transpose(b, input("x")?, &NCHW_TO_NHWC)?;
        Ok(vec![("y", global_avgpool(b, x)?)])
    }),
    ..Row::new("global_avgpool", head!("global_avgpool.rs"), cases)
};

/// Input: x. Output: y.
#[derive(Debug, Clone, Copy)]
pub struct GlobalAvgPool;

/// Input: dy. Output: dx, `dy / (H W)` at each pixel.
#[derive(Debug, Clone, Copy)]
pub struct GlobalAvgPoolBackward {
    /// H and W.
    pub size: [usize; 2],
}

/// The mean of each channel of each picture.
///
/// # Errors
/// [`crate::Error::Op`] where x is not [B, H, W, C] or has no pixels.
pub fn global_avgpool(b: &mut Builder, x: Value) -> Result<Value> {
    b.apply1(GlobalAvgPool, &[x])
}

impl Op for GlobalAvgPool {
    fn stem(&self) -> &'static str {
        "global_avgpool"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("global_avgpool");
        check.count(inputs, 1)?;
        let x = &inputs[0];
        check.float("x", x)?;
        check.rank("x", x, 4)?;
        check.that(x.shape[1] * x.shape[2] > 0, "x", "at least one pixel", x)?;
        Ok(vec![x.with_shape([x.shape[0], x.shape[3]])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let shape = launch.ty(0).shape;
        let (pixels, c) = (shape[1] * shape[2], shape[3]);
        let kernel = cuda::Dispatch::new(&KERNELS, "global_avgpool_forward_f32").tensors([cuda::Operand::Input(0), cuda::Operand::Output(0)]);
        if shape[0] > 0 {
            launch.sum_parts(cuda::Columns::by(pixels, shape[0] * pixels, c), kernel, |dispatch| dispatch);
        }
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let (batch, operands) = (launch.ty(0).shape[0], [Operand::Input(0), Operand::Output(0)]);
        launch.in_pieces(batch, &operands, |launch| {
            let shape = launch.ty(0).shape;
            let (pixels, c) = (shape[1] * shape[2], shape[3]);
            let sums = super::reduce::leading(operands, 1.0 / pixels as f64, "Real");
            launch.sum_parts(Columns::by(pixels, shape[0] * pixels, c), Summed::Sums(1), sums);
        });
        Ok(())
    }
}

fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
    let shape = args.shape(0);
    let (pixels, c) = (shape[1] * shape[2], shape[3]);
    let part = T::ONE / T::of(pixels as f64);
    let x = args.floats(0)?;
    for_rows(
        args.out(0)?,
        c,
        #[inline(always)]
        |picture, y| {
            y.fill(T::ZERO);
            for x in x[picture * pixels * c..][..pixels * c].chunks_exact(c) {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y += x;
                }
            }
            for y in y {
                *y *= part;
            }
        },
    );
    Ok(())
}

impl Op for GlobalAvgPoolBackward {
    fn stem(&self) -> &'static str {
        "global_avgpool"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("global_avgpool");
        check.count(inputs, 1)?;
        let dy = &inputs[0];
        check.float("dy", dy)?;
        check.rank("dy", dy, 2)?;
        Ok(vec![dy.with_shape([dy.shape[0], self.size[0], self.size[1], dy.shape[1]])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (pixels, n) = (self.size[0] * self.size[1], launch.out_ty(0).map_or(0, |dx| dx.len()));
        let dispatch = cuda::Dispatch::new(&KERNELS, "global_avgpool_backward_f32").tensors([cuda::Operand::Input(0), cuda::Operand::Output(0)]);
        launch.add(dispatch.count(n).sizes([pixels, launch.ty(0).shape.rows_and_width().1]).over(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let (pixels, operands) = (self.size[0] * self.size[1], [Operand::Input(0), Operand::Output(0)]);
        launch.in_pieces(launch.ty(0).shape[0], &operands, |launch| {
            let (batch, c) = launch.ty(0).shape.rows_and_width();
            launch.add(Columns::by(pixels, batch * pixels, c).launch(Dispatch::new(SHADER, "global_avgpool_backward_f32", operands)));
        });
        Ok(())
    }
}

impl GlobalAvgPoolBackward {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (pixels, c) = (self.size[0] * self.size[1], args.shape(0)[1]);
        let part = T::ONE / T::of(pixels as f64);
        let dy = args.floats(0)?;
        for_rows(args.out(0)?, c, |row, dx| dx.iter_mut().zip(&dy[row / pixels * c..]).for_each(|(dx, &dy)| *dx = dy * part));
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    if let Some(dy) = cx.grad(0) {
        let x = cx.input(0);
        let shape = cx.builder().shape(x);
        cx.set_by(0, GlobalAvgPoolBackward { size: [shape[1], shape[2]] }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |shape: [usize; 4]| {
        let [b, h, w, c] = shape;
        Case::of(format!("{b}x{h}x{w}x{c}"), |b, v| global_avgpool(b, v[0])).normal("x", shape)
    };
    vec![case([1, 1, 1, 1]), case([0, 3, 2, 5]), case([6, 4, 4, 64]), case([3, 5, 7, 11]), case([2, 7, 7, 33]), case([8, 7, 7, 2048]).large()]
}
