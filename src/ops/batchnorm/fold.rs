//! Inference: the normalisation after a convolution folds into its filters and bias.
//!
//! `(conv(x, w) + c - mean) scale + b = conv(x, scale w) + (c - mean) scale + b` with `scale = weight / sqrt(var + eps)` of the filter's
//! channel. All of it is constant, so that it is computed once, before the first run.

use super::{BatchNorm, CHECK, rstd, scales};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::Result;
use crate::graph::Rewriter;
use crate::op::{Cost, Op};
use crate::ops::conv2d::Conv2d;
use crate::ops::linear::Activation;
use crate::tensor::TensorType;

/// Inputs: filters [O, ..], weight, bias, mean, var \[O\], and with `bias` the convolution's own \[O\]. Outputs: filters and bias.
#[derive(Debug, Clone, Copy)]
pub struct FoldIntoConv2d {
    /// As in [`BatchNorm`].
    pub eps: f64,
    /// The convolution has a bias.
    pub bias: bool,
}

impl Op for FoldIntoConv2d {
    fn stem(&self) -> &'static str {
        "batchnorm"
    }

    fn pass(&self) -> &'static str {
        "fold"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        CHECK.count(inputs, 5 + usize::from(self.bias))?;
        let filters = inputs[0];
        CHECK.float("filters", &filters)?;
        CHECK.rank("filters", &filters, 4)?;
        let of_filter = filters.with_shape([filters.shape[0]]);
        inputs[1..].iter().try_for_each(|ty| CHECK.same("statistics and weights", ty, &of_filter))?;
        Ok(vec![filters, of_filter])
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
        super::cuda::fold(self, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        self.launch(launch);
        Ok(())
    }
}

impl FoldIntoConv2d {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (filters, weight, b, mean, var) = (args.floats(0)?, args.floats(1)?, args.floats(2)?, args.floats(3)?, args.floats(4)?);
        let before = if self.bias { Some(args.floats(5)?) } else { None };
        let (folded, bias) = (args.out(0)?, args.out(1)?);
        let scale = scales(weight, |o| rstd(var[o], self.eps));
        let width = filters.len() / weight.len().max(1);
        for_rows(folded, width, |o, folded| folded.iter_mut().zip(&filters[o * width..]).for_each(|(f, &w)| *f = w * scale[o]));
        for (o, bias) in bias.iter_mut().enumerate() {
            *bias = (before.map_or(T::ZERO, |c| c[o]) - mean[o]) * scale[o] + b[o];
        }
        Ok(())
    }
}

/// Turns a normalisation that is the only reader of a convolution, all weights constant, into the convolution.
pub fn fold_into_conv2d(graph: &mut Rewriter, index: usize) -> Result<bool> {
    let Some(&BatchNorm { eps }) = graph.op(index) else { return Ok(false) };
    let of_norm = graph.node(index).inputs.clone();
    let Some((conv, &op)) = graph.only_use_of::<Conv2d>(of_norm[0]) else { return Ok(false) };
    let of_conv = graph.node(conv).inputs.clone();
    let constants: Vec<_> = [of_conv[1]].iter().chain(&of_norm[1..]).chain(of_conv.get(2)).copied().collect();
    if op.residual || op.activation != Activation::None || !graph.may_wait(conv, index) || !constants.iter().all(|&v| graph.is_constant(v)) {
        return Ok(false);
    }
    let folded = graph.insert_before(index, FoldIntoConv2d { eps, bias: op.bias }, &constants)?;
    graph.replace(index, Conv2d { bias: true, ..op }, &[of_conv[0], folded[0], folded[1]])?;
    Ok(true)
}
