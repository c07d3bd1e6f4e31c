//! The backbone: torchvision's ResNet v1.5 of bottlenecks (He et al. 2015, arXiv:1512.03385; the stride sits on the 3x3 convolution).

use super::config::BackboneConfig;
use super::layers::Training;
use crate::error::Result;
use crate::graph::{Builder, StateKind, Value};
use crate::ops::add::add;
use crate::ops::batchnorm::{batchnorm, batchnorm_training, stage_statistics};
use crate::ops::conv2d::conv2d;
use crate::ops::linear::Activation;
use crate::ops::maxpool2d::maxpool2d;
use crate::ops::relu::relu;
use crate::tensor::TensorType;

/// What a bottleneck's last convolution multiplies its width by.
const EXPANSION: usize = 4;
const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// The feature maps, [B, H, W, C] each: H and W fall from S/4 to S/32, C rises to 32 times the width.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// After the stem: [B, S/4, S/4, width].
    pub stem: Value,
    /// After each of the four stages.
    pub layers: [Value; 4],
}

/// Builds the backbone on `image` [B, S, S, 3], normalised, under the scope `backbone`.
///
/// # Errors
/// Those of [`Builder::apply`].
pub fn backbone(b: &mut Builder, config: &BackboneConfig, image: Value, mut training: Option<&mut Training>) -> Result<Features> {
    b.scoped("backbone", |b| {
        let x = convolution(b, "conv1", image, config.width, 7, 2)?;
        let x = norm(b, "bn1", x, None, Activation::Relu, &mut training)?;
        let stem = maxpool2d(b, x, 3, 2, 1)?;
        let mut layers = [stem; 4];
        let mut x = stem;
        for (i, &depth) in config.layers.iter().enumerate() {
            for j in 0..depth {
                let stride = if i > 0 && j == 0 { 2 } else { 1 };
                x = b.scoped(&format!("layer{}.{j}", i + 1), |b| bottleneck(b, x, config.width << i, stride, &mut training))?;
            }
            layers[i] = x;
        }
        Ok(Features { stem, layers })
    })
}

fn bottleneck(b: &mut Builder, x: Value, planes: usize, stride: usize, training: &mut Option<&mut Training>) -> Result<Value> {
    let channels = b.shape(x)[3];
    let skip = if stride == 1 && channels == planes * EXPANSION {
        x
    } else {
        let skip = convolution(b, "downsample.0", x, planes * EXPANSION, 1, stride)?;
        norm(b, "downsample.1", skip, None, Activation::None, training)?
    };
    let y = convolution(b, "conv1", x, planes, 1, 1)?;
    let y = norm(b, "bn1", y, None, Activation::Relu, training)?;
    let y = convolution(b, "conv2", y, planes, 3, stride)?;
    let y = norm(b, "bn2", y, None, Activation::Relu, training)?;
    let y = convolution(b, "conv3", y, planes * EXPANSION, 1, 1)?;
    norm(b, "bn3", y, Some(skip), Activation::Relu, training)
}

/// A convolution without bias that keeps the size, the stride aside.
fn convolution(b: &mut Builder, name: &str, x: Value, out: usize, kernel: usize, stride: usize) -> Result<Value> {
    let channels = b.shape(x)[3];
    b.scoped(name, |b| {
        let weight = b.parameter("weight", [out, kernel, kernel, channels])?;
        conv2d(b, x, weight, None, stride, kernel / 2)
    })
}

/// Batch norm, the residual that is added to it, if any, and the activation. In training they are one operator; in inference all fold into the convolution.
/// One whose weight is frozen runs as in inference, and its running statistics stay as they are.
fn norm(
    b: &mut Builder,
    name: &str,
    x: Value,
    residual: Option<Value>,
    activation: Activation,
    training: &mut Option<&mut Training>,
) -> Result<Value> {
    let channels = b.shape(x)[3];
    b.scoped(name, |b| {
        let weight = b.parameter("weight", [channels])?;
        let bias = b.parameter("bias", [channels])?;
        let path = format!("{}.weight", b.scope());
        let mut statistic = |name: &str, kind| b.state(name, TensorType::f32([channels]), kind);
        let mean = statistic("running_mean", StateKind::Statistic)?;
        let var = statistic("running_var", StateKind::Statistic)?;
        let Some(training) = training.as_deref_mut().filter(|t| t.trains(&path)) else {
            let y = batchnorm(b, x, weight, bias, mean, var, EPS)?;
            let y = residual.map_or(Ok(y), |residual| add(b, y, residual))?;
            return if activation == Activation::Relu { relu(b, y) } else { Ok(y) };
        };
        let staged_mean = statistic("running_mean.staged", StateKind::Gradient)?;
        let staged_var = statistic("running_var.staged", StateKind::Gradient)?;
        let batch = batchnorm_training(b, x, weight, bias, residual, EPS, activation)?;
        stage_statistics(b, staged_mean, mean, batch.mean, MOMENTUM, training.micro_step)?;
        stage_statistics(b, staged_var, var, batch.var, MOMENTUM, training.micro_step)?;
        training.stage(mean, staged_mean);
        training.stage(var, staged_var);
        Ok(batch.y)
    })
}
