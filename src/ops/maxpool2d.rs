//! Maximum over windows: `y[b, oy, ox, c] = max over ky, kx of x[b, oy s + ky - p, ox s + kx - p, c]`, ky and kx in 0 .. K, what lies
//! outside the picture left out.
//!
//! x is [B, H, W, C], y is [B, OH, OW, C] with OH = (H + 2p - K) / s + 1. Which pixel won is saved for the backward pass, as its index
//! y W + x in the picture; of equal ones the first in row-major order, as in PyTorch. NaN wins. The backward pass gathers: each pixel of
//! dx adds up, in order, the windows that it won.

use super::{Kernel, Row};
use super::conv2d::{NCHW_TO_NHWC, NHWC_TO_NCHW};
use super::support::case::{Case, Fill};
use super::transpose::transpose;
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, TensorType};

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("maxpool2d");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("maxpool2d");

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    golden: Some(|case, b, input| {
        let x = transpose(b, input("x")?, &NCHW_TO_NHWC)?;
        let y = maxpool2d(b, x, case.count("kernel")?, case.count("stride")?, case.count("padding")?)?;
        Ok(vec![("y", transpose(b, y, &NHWC_TO_NCHW)?)])
    }),
    ..Row::new("maxpool2d", head!("maxpool2d.rs"), cases)
};

/// Input: x. Outputs: y, and which pixel won, i32 of y's shape (optional).
#[derive(Debug, Clone, Copy)]
pub struct MaxPool2d {
    /// K: rows and columns of a window.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// How far windows may reach out of the picture; at most half of K.
    pub padding: usize,
}

/// Inputs: dy, and which pixel won. Output: dx.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool2dBackward {
    /// The windows.
    pub windows: MaxPool2d,
    /// H and W.
    pub size: [usize; 2],
}

/// The maximum of each window of `kernel` x `kernel` pixels.
///
/// # Errors
/// [`crate::Error::Op`] where a window does not fit, or could lie outside the picture altogether.
pub fn maxpool2d(b: &mut Builder, x: Value, kernel: usize, stride: usize, padding: usize) -> Result<Value> {
    b.apply1(MaxPool2d { kernel, stride, padding }, &[x])
}

impl MaxPool2d {
    /// How many windows lie along a side.
    fn out(&self, size: usize) -> usize {
        (size + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// One thread for each of `n` elements, on pictures of [H, W, C].
    #[cfg(feature = "cuda")]
    fn cuda_launch(&self, launch: &mut cuda::Launch, pass: &str, tensors: [cuda::Operand; 3], n: usize, [h, w, c]: [usize; 3]) {
        let windows = [h, w, c, self.out(h), self.out(w), self.kernel, self.stride, self.padding];
        let kernel = format!("maxpool2d_{pass}_{}", launch.dtype());
        launch.add(cuda::Dispatch::new(&KERNELS, kernel).tensors(tensors).count(n).structure(windows.to_vec()).over(n));
    }

    /// One invocation for each of `n` elements, on pictures of [H, W, C].
    #[cfg(feature = "wgpu")]
    fn dispatch(&self, entry: &str, operands: [Operand; 3], n: usize, [h, w, c]: [usize; 3]) -> Dispatch {
        let windows = [("KERNEL", self.kernel), ("STRIDE", self.stride), ("PADDING", self.padding)];
        let dispatch = Dispatch::new(SHADER, entry, operands);
        let dispatch = windows.into_iter().fold(dispatch, |d, (name, value)| d.constant(name, format!("{value}u")));
        [n, h, w, c, self.out(h), self.out(w)].into_iter().fold(dispatch, Dispatch::size).over(n)
    }

    /// The pixels that a window covers along a side.
    fn covered(&self, window: usize, size: usize) -> std::ops::Range<usize> {
        let start = window * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel).saturating_sub(self.padding).min(size)
    }

    /// The windows that cover a pixel along a side.
    fn covering(&self, pixel: usize, size: usize) -> std::ops::Range<usize> {
        let at = pixel + self.padding;
        (at + 1).saturating_sub(self.kernel).div_ceil(self.stride)..(at / self.stride + 1).min(self.out(size))
    }

    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let shape = args.shape(0);
        let (h, w, c) = (shape[1], shape[2], shape[3]);
        let (x, y) = (args.floats(0)?, args.out(0)?);
        let (oh, ow) = (self.out(h), self.out(w));
        let pixel = |row: usize, iy: usize, ix: usize| &x[((row / oh * h + iy) * w + ix) * c..][..c];
        for_rows(
            y,
            ow * c,
            #[inline(always)]
            |row, y| {
                for (ox, best) in y.chunks_exact_mut(c).enumerate() {
                    best.fill(T::LOWEST);
                    for iy in self.covered(row % oh, h) {
                        for ix in self.covered(ox, w) {
                            for (best, &x) in best.iter_mut().zip(pixel(row, iy, ix)) {
                                *best = if x > *best || is_nan(x) { x } else { *best };
                            }
                        }
                    }
                }
            },
        );
        if args.out_ty(1).is_none() {
            return Ok(());
        }
        let y = &*y;
        for_rows(
            args.out_ints(1)?,
            ow * c,
            #[inline(always)]
            |row, won| {
                for (ox, won) in won.chunks_exact_mut(c).enumerate() {
                    let best = &y[(row * ow + ox) * c..][..c];
                    // From the last to the first, so that the first of equals stays.
                    for iy in self.covered(row % oh, h).rev() {
                        for ix in self.covered(ox, w).rev() {
                            let index = (iy * w + ix) as i32;
                            for ((won, &best), &x) in won.iter_mut().zip(best).zip(pixel(row, iy, ix)) {
                                *won = if x == best || is_nan(x) { index } else { *won };
                            }
                        }
                    }
                }
            },
        );
        Ok(())
    }
}

#[inline(always)]
#[allow(clippy::eq_op)]
fn is_nan<T: Real>(x: T) -> bool {
    x != x
}

impl Op for MaxPool2d {
    fn stem(&self) -> &'static str {
        "maxpool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("maxpool2d");
        check.count(inputs, 1)?;
        let x = &inputs[0];
        check.float("x", x)?;
        check.rank("x", x, 4)?;
        check.that(self.kernel >= 1 && 2 * self.padding <= self.kernel, "padding", format!("at most half of {}", self.kernel), self.padding)?;
        check.that(self.stride >= 1, "stride", "at least 1", self.stride)?;
        let fits = |d: usize| self.kernel <= x.shape[d] + 2 * self.padding;
        check.that(fits(1) && fits(2), "x", format!("a picture that holds windows of {}", self.kernel), x)?;
        check.that(x.shape[1] * x.shape[2] <= i32::MAX as usize, "x", "pixels that i32 can count", x)?;
        let y = x.with_shape([x.shape[0], self.out(x.shape[1]), self.out(x.shape[2]), x.shape[3]]);
        Ok(vec![y, TensorType::new(DType::I32, y.shape)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming((self.kernel * self.kernel * outputs[0].len()) as u64, inputs, &outputs[..1])
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let x = launch.ty(0).shape;
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Output(0), cuda::Operand::Output(1)];
        self.cuda_launch(launch, "forward", tensors, x[0] * self.out(x[1]) * self.out(x[2]) * x[3], [x[1], x[2], x[3]]);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let operands = [Operand::Input(0), Operand::Output(0), Operand::Output(1)];
        launch.in_pieces(launch.ty(0).shape[0], &operands, |launch| {
            let x = launch.ty(0).shape;
            let n = x[0] * self.out(x[1]) * self.out(x[2]) * x[3];
            let dispatch = self.dispatch("maxpool2d_forward_f32", operands, n, [x[1], x[2], x[3]]);
            launch.add(dispatch.constant("SAVE", launch.out_ty(1).is_some()));
        });
        Ok(())
    }
}

impl Op for MaxPool2dBackward {
    fn stem(&self) -> &'static str {
        "maxpool2d"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("maxpool2d");
        check.count(inputs, 2)?;
        let dy = &inputs[0];
        check.float("dy", dy)?;
        check.rank("dy", dy, 4)?;
        let out = self.size.map(|size| self.windows.out(size));
        check.shape("dy", dy, &[dy.shape[0], out[0], out[1], dy.shape[3]])?;
        check.int("winners", &inputs[1])?;
        check.shape("winners", &inputs[1], &dy.shape)?;
        Ok(vec![dy.with_shape([dy.shape[0], self.size[0], self.size[1], dy.shape[3]])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (shape, [h, w]) = (launch.ty(0).shape, self.size);
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
        self.windows.cuda_launch(launch, "backward", tensors, shape[0] * h * w * shape[3], [h, w, shape[3]]);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let operands = [Operand::Input(0), Operand::Input(1), Operand::Output(0)];
        launch.in_pieces(launch.ty(0).shape[0], &operands, |launch| {
            let (shape, [h, w]) = (launch.ty(0).shape, self.size);
            let (batch, c) = (shape[0], shape[3]);
            let dispatch = self.windows.dispatch("maxpool2d_backward_f32", operands, batch * h * w * c, [h, w, c]);
            launch.add(dispatch.constant("SAVE", false));
        });
        Ok(())
    }
}

impl MaxPool2dBackward {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let shape = args.shape(0);
        let (oh, ow, c, [h, w]) = (shape[1], shape[2], shape[3], self.size);
        let (dy, won) = (args.floats(0)?, args.ints(1)?);
        for_rows(
            args.out(0)?,
            w * c,
            #[inline(always)]
            |row, dx| {
                for (ix, dx) in dx.chunks_exact_mut(c).enumerate() {
                    dx.fill(T::ZERO);
                    let index = (row % h * w + ix) as i32;
                    for oy in self.windows.covering(row % h, h) {
                        for ox in self.windows.covering(ix, w) {
                            let at = ((row / h * oh + oy) * ow + ox) * c;
                            for ((dx, &dy), &won) in dx.iter_mut().zip(&dy[at..]).zip(&won[at..]) {
                                *dx += if won == index { dy } else { T::ZERO };
                            }
                        }
                    }
                }
            },
        );
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let windows: MaxPool2d = cx.op()?;
    if let Some(dy) = cx.grad(0) {
        let (x, won) = (cx.input(0), cx.output(1));
        let shape = cx.builder().shape(x);
        cx.set_by(0, MaxPool2dBackward { windows, size: [shape[1], shape[2]] }, &[dy, won])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |shape: [usize; 4], kernel: usize, stride: usize, padding: usize| {
        let [b, h, w, c] = shape;
        let build = move |b: &mut Builder, v: &[Value]| {
            let outputs = b.apply(MaxPool2d { kernel, stride, padding }, v)?;
            Ok(vec![("y", outputs[0]), ("winners", outputs[1])])
        };
        Case::new(format!("{b}x{h}x{w}x{c}_k{kernel}s{stride}p{padding}"), build).float("x", shape, Fill::Distinct)
    };
    let mut ties = case([1, 3, 4, 1], 2, 1, 0);
    ties.name = "ties".to_owned();
    ties.inputs[0].fill = Fill::Values(vec![1.0, 1.0, -2.0, -3.0, 1.0, 0.0, -2.0, -2.0, 4.0, 4.0, 5.0, -2.0]);
    ties.inputs[0].gradient = false;
    vec![
        case([1, 1, 1, 1], 1, 1, 0),
        case([0, 5, 6, 3], 3, 2, 1),
        case([4, 8, 8, 16], 3, 2, 1),
        case([2, 1, 1, 3], 3, 2, 1),
        case([2, 9, 8, 5], 3, 2, 1),
        case([1, 7, 5, 17], 2, 2, 0),
        case([1, 6, 9, 2], 3, 1, 1),
        case([2, 11, 10, 3], 2, 3, 1),
        ties,
        case([8, 112, 112, 64], 3, 2, 1).large(),
    ]
}
