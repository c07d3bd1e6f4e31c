//! The gradients: of x, and of the filters and the bias.

#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "wgpu")]
use super::wgpu;
use super::{Conv2d, Extents, cpu};
use crate::device::cpu::Args;
#[cfg(feature = "cuda")]
use crate::device::cuda::Launch as CudaLaunch;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Launch, Operand};
use crate::error::Result;
use crate::graph::Backward;
use crate::op::{Check, Cost, Op};
use crate::ops::linear::Activation;
use crate::ops::relu::Relu;
use crate::ops::support::elementwise::MapBackward;
use crate::tensor::TensorType;

/// The gradient of x. Inputs: dy [B, OH, OW, O], w.
#[derive(Debug, Clone, Copy)]
pub struct Conv2dBackwardInput {
    /// As in [`Conv2d`].
    pub stride: usize,
    /// As in [`Conv2d`].
    pub padding: usize,
    /// H and W.
    pub size: [usize; 2],
}

/// The gradients of w and bias. Inputs: dy [B, OH, OW, O], x. Outputs: dw, db (optional).
#[derive(Debug, Clone, Copy)]
pub struct Conv2dBackwardWeight {
    /// As in [`Conv2d`].
    pub stride: usize,
    /// As in [`Conv2d`].
    pub padding: usize,
    /// KH and KW.
    pub kernel: [usize; 2],
}

impl Op for Conv2dBackwardInput {
    fn stem(&self) -> &'static str {
        "conv2d"
    }

    fn pass(&self) -> &'static str {
        "backward_input"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("conv2d");
        check.count(inputs, 2)?;
        let (dy, w) = (&inputs[0], &inputs[1]);
        check.rank("dy", dy, 4)?;
        check.rank("w", w, 4)?;
        let dx = dy.with_shape([dy.shape[0], self.size[0], self.size[1], w.shape[3]]);
        let extents = Extents::checked(&check, &dx, w, self.stride, self.padding)?;
        check.shape("dy", dy, &extents.y())?;
        Ok(vec![dx])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(self.extents(&inputs[0].shape, &inputs[1].shape).flops(), inputs, outputs)
    }

    fn workspace(&self, inputs: &[TensorType], threads: usize) -> usize {
        cpu::backward_input_workspace(&self.extents(&inputs[0].shape, &inputs[1].shape), threads)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let e = self.extents(args.shape(0), args.shape(1));
        let (c, taps) = (e.channels, e.kernel[0] * e.kernel[1]);
        let (dy, w, dx) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        dx.fill(0.0);
        e.each_tap(|out, pixel, tap| {
            for o in 0..e.filters {
                let filter = &w[(o * taps + tap) * c..][..c];
                dx[pixel * c..].iter_mut().zip(filter).for_each(|(dx, w)| *dx += dy[out * e.filters + o] * w);
            }
        });
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let e = self.extents(args.shape(0), args.shape(1));
        cpu::backward_input(&e, args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut CudaLaunch) -> Result<()> {
        let e = self.extents(&launch.ty(0).shape, &launch.ty(1).shape);
        cuda::backward_input(&e, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch.in_pieces(launch.ty(0).shape[0], &[Operand::Input(0), Operand::Output(0)], |launch| {
            let e = self.extents(&launch.ty(0).shape, &launch.ty(1).shape);
            wgpu::backward_input(&e, launch);
        });
        Ok(())
    }
}

impl Conv2dBackwardInput {
    fn extents(&self, dy: &[usize], w: &[usize]) -> Extents {
        Extents::new(&[dy[0], self.size[0], self.size[1], w[3]], w, self.stride, self.padding)
    }
}

impl Op for Conv2dBackwardWeight {
    fn stem(&self) -> &'static str {
        "conv2d"
    }

    fn pass(&self) -> &'static str {
        "backward_weight"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("conv2d");
        check.count(inputs, 2)?;
        let (dy, x) = (&inputs[0], &inputs[1]);
        check.rank("dy", dy, 4)?;
        check.rank("x", x, 4)?;
        let dw = x.with_shape([dy.shape[3], self.kernel[0], self.kernel[1], x.shape[3]]);
        let extents = Extents::checked(&check, x, &dw, self.stride, self.padding)?;
        check.shape("dy", dy, &extents.y())?;
        Ok(vec![dw, dy.with_shape([dy.shape[3]])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(self.extents(&inputs[0].shape, &inputs[1].shape).flops() + inputs[0].len() as u64, inputs, outputs)
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1]
    }

    fn workspace(&self, inputs: &[TensorType], threads: usize) -> usize {
        cpu::backward_weight_workspace(&self.extents(&inputs[0].shape, &inputs[1].shape), threads)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let e = self.extents(args.shape(0), args.shape(1));
        let (c, taps) = (e.channels, e.kernel[0] * e.kernel[1]);
        let (dy, x, dw) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        dw.fill(0.0);
        e.each_tap(|out, pixel, tap| {
            for o in 0..e.filters {
                let filter = &mut dw[(o * taps + tap) * c..][..c];
                filter.iter_mut().zip(&x[pixel * c..]).for_each(|(dw, x)| *dw += dy[out * e.filters + o] * x);
            }
        });
        if let Some(db) = args.optional_out(1) {
            (0..e.filters).for_each(|o| db[o] = dy.iter().skip(o).step_by(e.filters).sum());
        }
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let e = self.extents(args.shape(0), args.shape(1));
        cpu::backward_weight(&e, args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut CudaLaunch) -> Result<()> {
        let e = self.extents(&launch.ty(0).shape, &launch.ty(1).shape);
        cuda::backward_weight(&e, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch.in_summed_pieces(launch.ty(0).shape[0], &[0, 1].map(Operand::Input), &[0, 1].map(Operand::Output), |launch| {
            let e = self.extents(&launch.ty(0).shape, &launch.ty(1).shape);
            wgpu::backward_weight(&e, launch);
        });
        Ok(())
    }
}

impl Conv2dBackwardWeight {
    fn extents(&self, dy: &[usize], x: &[usize]) -> Extents {
        Extents::new(x, &[dy[3], self.kernel[0], self.kernel[1], x[3]], self.stride, self.padding)
    }
}

/// The backward rule.
pub fn backward(cx: &mut Backward) -> Result<()> {
    let Conv2d { stride, padding, bias, residual, activation, .. } = cx.op()?;
    let Some(mut dy) = cx.grad(0) else { return Ok(()) };
    let (x, w, y) = (cx.input(0), cx.input(1), cx.output(0));
    let (size, kernel) = (cx.builder().shape(x), cx.builder().shape(w));
    if activation == Activation::Relu {
        dy = cx.builder().apply1(MapBackward(Relu), &[dy, y])?;
    }
    cx.set_by(0, Conv2dBackwardInput { stride, padding, size: [size[1], size[2]] }, &[dy, w])?;
    if cx.needs(1) || (bias && cx.needs(2)) {
        let grads = cx.builder().apply(Conv2dBackwardWeight { stride, padding, kernel: [kernel[1], kernel[2]] }, &[dy, x])?;
        cx.set(1, grads[0]);
        if bias {
            cx.set(2, grads[1]);
        }
    }
    if residual {
        cx.set(cx.input_count() - 1, dy);
    }
    Ok(())
}
