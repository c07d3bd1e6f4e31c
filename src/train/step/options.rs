//! What a training step may be told.

use crate::tensor::Shape;

/// The rule by which parameters follow their gradients: PyTorch's formulas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Adam with decoupled weight decay. Moments are the states `adamw.m.<parameter>` and `adamw.v.<parameter>`.
    AdamW {
        /// Decay of the moments.
        betas: [f64; 2],
        /// Added to the root of the second moment.
        eps: f64,
    },
    /// Gradient descent with momentum; weight decay is added to the gradient. Momentum is the state `sgd.m.<parameter>`.
    Sgd {
        /// Decay of the sum of past gradients; 0 for none.
        momentum: f64,
        /// Looks ahead by one step of momentum.
        nesterov: bool,
    },
}

/// The settings of a step, of both stages. The functions are asked once for each parameter, by its name.
#[derive(Clone, Copy)]
pub struct StepOptions<'a> {
    /// How parameters follow their gradients.
    pub optimizer: Optimizer,
    /// Pulls the `decayed` parameters towards 0.
    pub weight_decay: f64,
    /// The most the gradient's norm may be.
    pub clip_norm: Option<f64>,
    /// The decay of a moving average of each parameter, the state [`Step::average`](super::Step::average) names. Whatever else a model
    /// needs, frozen parameters and running statistics, its averaged form takes as it is.
    pub ema: Option<f64>,
    /// Multiply the loss's gradient by the state [`LOSS_SCALE`](super::LOSS_SCALE), which finds its size by itself: for f16.
    pub loss_scale: bool,
    /// So many finite steps in a row double the loss scale.
    pub growth_interval: u32,
    /// How many learning rates there are.
    pub groups: usize,
    /// Which of them is a parameter's own.
    pub group: &'a dyn Fn(&str) -> usize,
    /// True for parameters that stay as they are: no gradient, no moments. A batch norm whose weight is frozen, and a part of the model
    /// all of whose parameters are, run as in inference: statistics stay too, nothing is dropped out.
    pub frozen: &'a dyn Fn(&str) -> bool,
    /// True for parameters that weight decay applies to.
    pub decayed: &'a dyn Fn(&str, &Shape) -> bool,
}

impl Default for StepOptions<'_> {
    /// AdamW with one learning rate for everything. Decay applies to tensors of two or more dimensions.
    fn default() -> Self {
        StepOptions {
            optimizer: Optimizer::AdamW { betas: [0.9, 0.999], eps: 1e-8 },
            weight_decay: 0.05,
            clip_norm: Some(1.0),
            ema: None,
            loss_scale: false,
            growth_interval: 2000,
            groups: 1,
            group: &|_| 0,
            frozen: &|_| false,
            decayed: &|_, shape| shape.rank() >= 2,
        }
    }
}
