//! Two-dimensional convolution: `y[b, oy, ox, o] = act(sum over ky, kx, i of w[o, ky, kx, i] x[b, oy s + ky - p, ox s + kx - p, i] + bias\[o\]
//! + residual[b, oy, ox, o])`, where x outside the picture is 0.
//!
//! x is [B, H, W, I], w is [O, KH, KW, I], bias is \[O\], y and residual are [B, OH, OW, O] with OH = (H + 2p - KH) / s + 1. Channels lie
//! innermost, so that a filter's row over a picture is one run of KW I numbers. FLOPs of each of the three products (forward, by x, by w):
//! 2 B OH OW O KH KW I.
//!
//! The residual is only made by fusion; ReLU's gradient is read off y. So are the moments of y's channels, for the batch normalisation that follows in training.

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod fusion;
#[cfg(feature = "cuda")]
mod maps;
mod patches;
#[cfg(feature = "wgpu")]
mod wgpu;

pub use backward::{Conv2dBackwardInput, Conv2dBackwardWeight};

use super::{Kernel, PRODUCTS, Row};
use super::linear::Activation;
use super::slice::slice;
use super::support::case::{Case, Fill};
use super::support::moments::{self, left_of};
use super::transpose::transpose;
use crate::device::cpu::gemm::{Matrix, PackedB};
use crate::device::cpu::{Args, Packed};
#[cfg(feature = "cuda")]
use crate::device::cuda::Launch as CudaLaunch;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Launch, Operand};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{DType, TensorType};

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward::backward),
    precision: Precision::Low,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    variants: &["exact", "mma64", "mma128", "wgmma128", "wgmma256"],
    wgpu_variants: PRODUCTS,
    fusion: Some((20, fusion::absorb)),
    golden: Some(|case, b, input| {
        let x = transpose(b, input("x")?, &NCHW_TO_NHWC)?;
        let w = transpose(b, input("w")?, &NCHW_TO_NHWC)?;
        let bias = if case.ty("b").is_some() { Some(input("b")?) } else { None };
        let y = conv2d(b, x, w, bias, case.count("stride")?, case.count("padding")?)?;
        Ok(vec![("y", transpose(b, y, &NHWC_TO_NCHW)?)])
    }),
    ..Row::new("conv2d", head!("mod.rs"), cases)
};

/// PyTorch's order of a picture's dimensions to ours; OIHW to OHWI is the same permutation.
pub const NCHW_TO_NHWC: [usize; 4] = [0, 2, 3, 1];
/// Ours to PyTorch's.
pub const NHWC_TO_NCHW: [usize; 4] = [0, 3, 1, 2];

/// The forward pass. Inputs: x, w, bias with `bias`, residual with `residual`. Outputs: y, in place of the residual, and with `moments` those of y's rows.
#[derive(Debug, Clone, Copy)]
pub struct Conv2d {
    /// Pixels from one patch to the next, in both directions.
    pub stride: usize,
    /// Zeros around the picture, on all four sides.
    pub padding: usize,
    /// There is an input \[O\] added to every pixel.
    pub bias: bool,
    /// There is an input of y's shape added before the activation.
    pub residual: bool,
    /// Applied to the sum: nothing or ReLU.
    pub activation: Activation,
    /// There is an output of the moments of y as it is stored, [`moments::left_of`] it. No gradient goes through it.
    pub moments: bool,
}

/// `x` convolved with the filters `w`, plus `bias`.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match or the filter does not fit into the picture.
pub fn conv2d(b: &mut Builder, x: Value, w: Value, bias: Option<Value>, stride: usize, padding: usize) -> Result<Value> {
    let inputs: Vec<Value> = [x, w].into_iter().chain(bias).collect();
    b.apply1(Conv2d { stride, padding, bias: bias.is_some(), residual: false, activation: Activation::None, moments: false }, &inputs)
}

/// All the extents of one convolution.
#[derive(Debug, Clone, Copy)]
struct Extents {
    batch: usize,
    /// H, W
    size: [usize; 2],
    /// I
    channels: usize,
    /// O
    filters: usize,
    /// KH, KW
    kernel: [usize; 2],
    /// OH, OW
    out: [usize; 2],
    stride: usize,
    padding: usize,
}

impl Extents {
    /// From the shapes of x and w.
    fn new(x: &[usize], w: &[usize], stride: usize, padding: usize) -> Self {
        let out = |size: usize, kernel: usize| (size + 2 * padding - kernel) / stride + 1;
        let out = [out(x[1], w[1]), out(x[2], w[2])];
        Extents { batch: x[0], size: [x[1], x[2]], channels: x[3], filters: w[0], kernel: [w[1], w[2]], out, stride, padding }
    }

    fn checked(check: &Check, x: &TensorType, w: &TensorType, stride: usize, padding: usize) -> Result<Self> {
        check.float("x", x)?;
        check.rank("x", x, 4)?;
        check.rank("w", w, 4)?;
        check.that(w.shape[3] == x.shape[3] && w.dtype == x.dtype, "w", format!("{}[_, _, _, {}]", x.dtype, x.shape[3]), w)?;
        check.that(x.shape[3] >= 1 && w.shape[0] >= 1, "w", "at least one channel and one filter", w)?;
        let fits = |d: usize| w.shape[d] >= 1 && w.shape[d] <= x.shape[d] + 2 * padding;
        check.that(fits(1) && fits(2), "w", format!("filters that fit into {x} with padding {padding}"), w)?;
        check.that(stride >= 1, "stride", "at least 1", stride)?;
        Ok(Self::new(&x.shape, &w.shape, stride, padding))
    }

    /// Numbers in a patch.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn patch(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// The shape of w.
    #[cfg(feature = "cuda")]
    fn w(&self) -> [usize; 4] {
        [self.filters, self.kernel[0], self.kernel[1], self.channels]
    }

    /// The shape of y.
    fn y(&self) -> [usize; 4] {
        [self.batch, self.out[0], self.out[1], self.filters]
    }

    /// FLOPs of one of the three products.
    fn flops(&self) -> u64 {
        (2 * self.y().iter().product::<usize>() * self.kernel[0] * self.kernel[1] * self.channels) as u64
    }

    /// Visits all triples (output pixel, input pixel, tap) that meet, each counted in row-major order.
    fn each_tap(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ([h, w], [oh, ow], [kh, kw]) = (self.size, self.out, self.kernel);
        let meets = |out: usize, tap: usize, extent: usize| (out * self.stride + tap).checked_sub(self.padding).filter(|&i| i < extent);
        for out in 0..self.batch * oh * ow {
            let (b, oy, ox) = (out / (oh * ow), out / ow % oh, out % ow);
            for tap in 0..kh * kw {
                if let (Some(iy), Some(ix)) = (meets(oy, tap / kw, h), meets(ox, tap % kw, w)) {
                    visit(out, (b * h + iy) * w + ix, tap);
                }
            }
        }
    }
}

impl Op for Conv2d {
    fn stem(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("conv2d");
        check.count(inputs, 2 + usize::from(self.bias) + usize::from(self.residual))?;
        let extents = Extents::checked(&check, &inputs[0], &inputs[1], self.stride, self.padding)?;
        let y = inputs[0].with_shape(extents.y());
        if self.bias {
            check.shape("bias", &inputs[2], &[extents.filters])?;
        }
        if self.residual {
            check.same("residual", &inputs[inputs.len() - 1], &y)?;
        }
        check.that(self.activation != Activation::Gelu, "activation", "none or ReLU", "GELU")?;
        check.that(!self.moments || !y.is_empty(), "x", "pictures to take moments of", inputs[0])?;
        Ok([y].into_iter().chain(self.moments.then(|| left_of(&y))).collect())
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let each = usize::from(self.bias) + usize::from(self.residual) + usize::from(self.activation == Activation::Relu) + 4 * usize::from(self.moments);
        Cost::streaming(self.extents(inputs).flops() + (each * outputs[0].len()) as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        match (self.residual, self.bias) {
            (false, _) => &[],
            (true, false) => &[(2, 0)],
            (true, true) => &[(3, 0)],
        }
    }

    fn workspace(&self, inputs: &[TensorType], threads: usize) -> usize {
        cpu::forward_workspace(&self.extents(inputs), threads)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let e = Extents::new(args.shape(0), args.shape(1), self.stride, self.padding);
        let (c, taps) = (e.channels, e.kernel[0] * e.kernel[1]);
        let (x, w) = (args.floats(0)?, args.floats(1)?);
        let bias = if self.bias { Some(args.floats(2)?) } else { None };
        let y = self.start_from_residual(args)?;
        e.each_tap(|out, pixel, tap| {
            for o in 0..e.filters {
                let filter = &w[(o * taps + tap) * c..][..c];
                y[out * e.filters + o] += filter.iter().zip(&x[pixel * c..]).map(|(w, x)| w * x).sum::<f64>();
            }
        });
        for (n, y) in y.iter_mut().enumerate() {
            *y = self.activation.value(*y + bias.map_or(0.0, |b| b[n % e.filters]));
        }
        self.leave_moments(y, args);
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        cpu::forward(self, args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut CudaLaunch) -> Result<()> {
        let e = Extents::new(&launch.ty(0).shape, &launch.ty(1).shape, self.stride, self.padding);
        cuda::forward(self, &e, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let mut tensors = vec![Operand::Input(0), Operand::Output(0)];
        tensors.extend(self.residual.then_some(Operand::Input(2 + usize::from(self.bias))));
        launch.in_pieces(launch.ty(0).shape[0], &tensors, |launch| {
            let e = Extents::new(&launch.ty(0).shape, &launch.ty(1).shape, self.stride, self.padding);
            wgpu::forward(self, &e, launch);
        });
        if self.moments {
            wgpu::moments(&self.extents(&[launch.ty(0), launch.ty(1)]), launch);
        }
        Ok(())
    }

    fn pack_layout(&self, input: usize) -> Option<&'static str> {
        (input == 1).then_some("gemm right, from [O, KH KW I]")
    }

    fn pack(&self, _input: usize, ty: &TensorType, data: &[f32]) -> Option<Packed> {
        let filters = ty.shape[0];
        let packed = PackedB::new(Matrix::new(data, filters, ty.len() / filters.max(1)).t()).ok()?;
        Some(packed)
    }
}

impl Conv2d {
    fn extents(&self, inputs: &[TensorType]) -> Extents {
        Extents::new(&inputs[0].shape, &inputs[1].shape, self.stride, self.padding)
    }

    /// Where they are wanted, those of y, as it will be stored.
    fn leave_moments<T: crate::device::cpu::Real>(&self, y: &mut [T], args: &mut Args<T>) {
        let Some((ty, to)) = args.out_ty(0).zip(args.optional_out(1)) else { return };
        if ty.dtype != DType::F32 {
            y.iter_mut().for_each(|y| *y = y.rounded_to(ty.dtype));
        }
        moments::take(y, ty.shape[3], moments::ROWS, to);
    }

    /// The output holding the residual, or zeros.
    fn start_from_residual<'a, T: crate::device::cpu::Real>(&self, args: &mut Args<'a, T>) -> Result<&'a mut [T]> {
        if !self.residual {
            let y = args.out(0)?;
            y.fill(T::ZERO);
            return Ok(y);
        }
        let (residual, y) = args.in_out(args.count() - 1, 0)?;
        if let Some(residual) = residual {
            y.copy_from_slice(residual);
        }
        Ok(y)
    }
}

/// The convolutions of ResNet-50 at 224 x 224, each shape once: (size of the input, I, O, kernel, stride).
pub const RESNET50: [(usize, usize, usize, usize, usize); 23] = [
    (224, 3, 64, 7, 2),
    (56, 64, 64, 1, 1),
    (56, 64, 64, 3, 1),
    (56, 64, 256, 1, 1),
    (56, 256, 64, 1, 1),
    (56, 256, 128, 1, 1),
    (56, 128, 128, 3, 2),
    (56, 256, 512, 1, 2),
    (28, 128, 512, 1, 1),
    (28, 512, 128, 1, 1),
    (28, 128, 128, 3, 1),
    (28, 512, 256, 1, 1),
    (28, 256, 256, 3, 2),
    (28, 512, 1024, 1, 2),
    (14, 256, 1024, 1, 1),
    (14, 1024, 256, 1, 1),
    (14, 256, 256, 3, 1),
    (14, 1024, 512, 1, 1),
    (14, 512, 512, 3, 2),
    (14, 1024, 2048, 1, 2),
    (7, 512, 2048, 1, 1),
    (7, 2048, 512, 1, 1),
    (7, 512, 512, 3, 1),
];

fn cases() -> Vec<Case> {
    let case = |[batch, h, w, i]: [usize; 4], [o, kh, kw]: [usize; 3], stride: usize, padding: usize| {
        let name = format!("{batch}x{h}x{w}x{i}_{o}x{kh}x{kw}_s{stride}p{padding}");
        Case::of(name, move |b, v| conv2d(b, v[0], v[1], v.get(2).copied(), stride, padding)).normal("x", [batch, h, w, i]).normal("w", [o, kh, kw, i])
    };
    // Everything that fusion can ask for, on a residual that may or may not be taken over.
    let fused = |[batch, h, w, i]: [usize; 4], filters: usize, bias: bool, in_place: bool| {
        let op = Conv2d { stride: 1, padding: 1, bias, residual: true, activation: Activation::Relu, moments: false };
        let name = format!("fused {batch}x{h}x{w}{}{}", if bias { "_bias" } else { "" }, if in_place { "_in_place" } else { "" });
        let case = Case::of(name, move |b, v| {
            let mut inputs = v.to_vec();
            if in_place && let Some(residual) = inputs.last_mut() {
                *residual = super::add::add(b, *residual, *residual)?;
            }
            b.apply1(op, &inputs)
        });
        let case = case.normal("x", [batch, h, w, i]).normal("w", [filters, 3, 3, i]);
        let case = if bias { case.normal("bias", [filters]) } else { case };
        // Far from the kink of ReLU, half on either side.
        let n = (batch * h * w * filters) as i32;
        case.float("residual", [batch, h, w, filters], Fill::Values((0..n).map(|n| if n % 3 == 0 { -40.0 } else { 40.0 } + f64::from(n) / 100.0).collect()))
    };
    // The three of a part are results of their own, lest large ones hide what is wrong with small ones.
    let moments = |[batch, h, w, i]: [usize; 4], [o, kh, kw]: [usize; 3], stride: usize| {
        let op = Conv2d { stride, padding: kh / 2, bias: true, residual: false, activation: Activation::None, moments: true };
        let case = Case::new(format!("moments {batch}x{h}x{w}x{i}_{o}x{kh}x{kw}_s{stride}"), move |b, v| {
            let outputs = b.apply(op, v)?;
            let mut word = |n: usize| slice(b, outputs[1], 1, n, 1);
            Ok(vec![("y", outputs[0]), ("count", word(0)?), ("mean", word(1)?), ("squares", word(2)?)])
        });
        case.normal("x", [batch, h, w, i]).normal("w", [o, kh, kw, i]).normal("bias", [o]).without_gradients()
    };
    // Far from 0 and close together, so that in 16 bits what is stored is spread otherwise than the sums are.
    let mut coarse = moments([3, 9, 7, 8], [8, 1, 1], 1);
    coarse.name = "moments coarse".to_owned();
    coarse.inputs[0].fill = Fill::Normal(0.0, 0.35);
    coarse.inputs[2].fill = Fill::Values(vec![300.0; 8]);
    let mut cases = vec![
        case([1, 1, 1, 1], [1, 1, 1], 1, 0),
        case([0, 5, 7, 3], [4, 3, 3], 1, 1).normal("bias", [4]),
        case([6, 8, 8, 16], [8, 3, 3], 1, 1).normal("bias", [8]),
        case([2, 5, 7, 3], [11, 1, 1], 1, 0).normal("bias", [11]),
        case([2, 5, 7, 3], [4, 1, 1], 2, 0).normal("bias", [4]),
        case([1, 3, 3, 2], [3, 3, 3], 1, 1).normal("bias", [3]),
        case([2, 1, 1, 5], [2, 3, 3], 1, 1),
        case([2, 9, 6, 3], [5, 3, 3], 2, 1),
        case([1, 11, 13, 3], [4, 7, 7], 2, 3).normal("bias", [4]),
        case([1, 8, 7, 2], [3, 2, 3], 3, 0),
        case([2, 8, 12, 3], [5, 4, 4], 4, 0),
        case([1, 4, 5, 2], [3, 1, 1], 1, 2),
        case([1, 6, 5, 2], [3, 2, 2], 3, 3),
        case([3, 14, 15, 17], [33, 3, 3], 1, 1),
        // More than one block of rows, of splits and of depth.
        case([3, 19, 18, 10], [6, 3, 3], 1, 1),
        case([2, 33, 34, 4], [3, 3, 3], 2, 1),
        case([2, 25, 24, 9], [40, 1, 1], 1, 0).normal("bias", [40]),
        // What GPUs share out in other ways: long sums, of which some phases have less, and many pixels.
        case([1, 5, 5, 64], [20, 3, 3], 1, 1).normal("bias", [20]),
        case([2, 5, 6, 17], [130, 3, 3], 2, 1),
        // The same where what is written for a phase's missing rows lies right behind the last picture.
        case([2, 5, 2, 3], [130, 3, 3], 2, 1),
        case([4, 64, 65, 1], [33, 3, 3], 1, 1),
        // Channels and filters in fours: with padding, phases of unequal taps, patches that touch nothing, 1 x 1, a few pixels, few channels of many filters.
        case([2, 9, 6, 8], [12, 3, 3], 2, 1).normal("bias", [12]),
        case([3, 14, 15, 20], [36, 3, 3], 1, 1),
        case([2, 8, 7, 4], [8, 2, 3], 3, 3),
        case([2, 25, 24, 12], [40, 1, 1], 1, 0),
        case([1, 2, 2, 128], [64, 1, 1], 1, 0),
        case([1, 5, 5, 64], [20, 3, 3], 1, 1),
        // In eights: several tiles of several stages of a pipeline, sums cut in parts, phases whose sums end before the second part or that meet nothing, more
        // padding than filter, the stem of a ResNet.
        case([1, 12, 11, 16], [72, 3, 3], 1, 1).normal("bias", [72]),
        case([1, 3, 3, 128], [120, 3, 3], 1, 1),
        case([1, 2, 2, 232], [8, 3, 3], 1, 1),
        case([1, 3, 4, 8], [520, 3, 3], 2, 1),
        case([2, 9, 7, 8], [16, 3, 3], 2, 1),
        case([2, 5, 7, 8], [16, 1, 1], 2, 0),
        case([1, 4, 5, 8], [8, 1, 1], 1, 2),
        case([2, 8, 7, 8], [8, 2, 3], 3, 3),
        case([1, 11, 13, 3], [8, 7, 7], 2, 3).normal("bias", [8]),
        // Warpgroups' tiles of 128 and 256, K by 64 channels of a tap: several tiles each way, lines and columns that end within one, several pictures in one, filters
        // that are not square, taps that a phase does not have, none at all; several parts of each product's K.
        case([3, 9, 7, 72], [40, 3, 3], 1, 1).normal("bias", [40]),
        case([5, 6, 5, 136], [24, 3, 2], 1, 1),
        case([2, 11, 10, 64], [40, 3, 3], 2, 1),
        case([3, 8, 9, 64], [16, 2, 3], 3, 2),
        case([4, 9, 8, 64], [264, 1, 1], 2, 0),
        case([2, 20, 21, 8], [16, 7, 7], 2, 3),
        case([1, 3, 3, 256], [16, 3, 3], 1, 1),
        case([1, 3, 3, 16], [256, 3, 3], 1, 1),
        case([2, 33, 34, 8], [8, 1, 1], 1, 0),
        // Tiles that are twice as tall.
        case([2, 128, 129, 4], [36, 3, 3], 1, 1).without_gradients(),
        fused([2, 5, 4, 3], 7, false, false),
        fused([2, 5, 4, 3], 7, false, true),
        fused([2, 5, 4, 3], 7, true, false),
        fused([2, 5, 4, 3], 7, true, true),
        fused([6, 8, 8, 4], 8, true, false),
        fused([6, 8, 8, 4], 8, false, true),
        fused([3, 7, 7, 16], 24, true, true),
        // Of moments: channels of all sorts, parts that end within a tile, tiles of one row and parts of one, one part, tiles enough for each block to have several,
        // sums cut in parts for small tiles and for all.
        moments([2, 5, 7, 3], [11, 3, 3], 1),
        moments([3, 9, 7, 16], [72, 3, 3], 1),
        moments([1, 5, 13, 8], [16, 1, 1], 1),
        moments([1, 3, 43, 8], [136, 1, 1], 1),
        moments([2, 9, 10, 8], [264, 3, 3], 2),
        moments([2, 20, 21, 16], [24, 1, 1], 1),
        moments([1, 5, 13, 128], [24, 3, 3], 1),
        moments([1, 5, 13, 256], [16, 3, 3], 1),
        coarse,
    ];
    cases.extend(RESNET50.iter().map(|&(size, i, o, kernel, stride)| case([8, size, size, i], [o, kernel, kernel], stride, kernel / 2).large()));
    cases
}
