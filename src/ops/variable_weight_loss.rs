//! Cross-entropy that stresses hard samples: `loss = mean over i of w_i CE_i`.
//!
//! With p the softmax of the sample's logits, q = 1 - p_label the share of the other classes, and a_label an optional weight of the class:
//!
//! ```text
//! cross-entropy    w = a_label
//! variable weight  w = a_label (1 + lambda q^gamma)     constant in the backward pass
//! focal            w = a_label q^gamma                  differentiated (Lin et al. 2017, arXiv:1708.02002)
//! dx_c = (w (p_c - target_c) + CE dw/dx_c) dloss / n,   dq/dx_c = p_label (p_c - [c = label])
//! ```
//!
//! Logits are [B, C], labels i32\[B\]; CE has label smoothing as in [`super::cross_entropy`]. n is B, or the number that the host gives:
//! the count over an effective batch; where it is 0 the loss is. q is summed over the other classes, which keeps its digits where
//! p_label nears 1. A label outside [0, C) makes the loss NaN. Rows are short: the backward pass computes the softmax again.

use super::{Kernel, Row};
use super::support::case::{Case, Fill, Golden};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Tensor, TensorType};

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("variable_weight_loss");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/ln_1p", "variable_weight_loss");

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    precision: Precision::Full,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    golden: Some(|case, b, input| Ok(vec![("loss", variable_weight_loss(b, input("x")?, input("labels")?, golden(case)?, None)?)])),
    fill: |_, inputs, i| (i == 1).then(|| Fill::Ints(0, inputs[0].shape.rows_and_width().1 as i32)),
    ..Row::new("variable_weight_loss", head!("variable_weight_loss.rs"), cases)
};

/// How samples are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// 1 + lambda q^gamma, without a gradient.
    VariableWeight,
    /// q^gamma, with its gradient.
    Focal,
    /// 1
    CrossEntropy,
}

/// The settings of the loss.
#[derive(Debug, Clone, PartialEq)]
pub struct LossConfig {
    /// How samples are weighted.
    pub kind: LossKind,
    /// How much more the hardest sample weighs than the easiest, in [`LossKind::VariableWeight`].
    pub lambda: f64,
    /// How sharply the weight rises with difficulty.
    pub gamma: f64,
    /// The share of the target that is spread evenly over all classes, in [0, 1].
    pub label_smoothing: f64,
    /// A weight for each class, for unbalanced data.
    pub class_weights: Option<Vec<f32>>,
}

/// The forward pass. Inputs: logits [B, C], labels i32\[B\], then class weights \[C\] and the denominator [] where there are. Output: loss [].
#[derive(Debug, Clone, Copy)]
pub struct VariableWeightLoss {
    /// How samples are weighted.
    pub kind: LossKind,
    /// As in [`LossConfig`].
    pub lambda: f64,
    /// As in [`LossConfig`].
    pub gamma: f64,
    /// As in [`LossConfig`].
    pub label_smoothing: f64,
    /// There are class weights among the inputs.
    pub class_weights: bool,
    /// There is a denominator among the inputs.
    pub denominator: bool,
}

/// The gradient of the logits. Inputs: those of the forward pass, and dloss [].
#[derive(Debug, Clone, Copy)]
pub struct VariableWeightLossBackward(pub VariableWeightLoss);

/// The weighted mean of the cross-entropies of `logits` [B, C] with `labels` i32\[B\]; with `denominator` f32[] their sum over it.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match or a setting is out of range.
pub fn variable_weight_loss(b: &mut Builder, logits: Value, labels: Value, config: LossConfig, denominator: Option<Value>) -> Result<Value> {
    let LossConfig { kind, lambda, gamma, label_smoothing, class_weights } = config;
    let weights = class_weights.map(|w| Tensor::from_f32([w.len()], w)).transpose()?.map(|w| b.constant(w));
    let op = VariableWeightLoss { kind, lambda, gamma, label_smoothing, class_weights: weights.is_some(), denominator: denominator.is_some() };
    let inputs: Vec<Value> = [logits, labels].into_iter().chain(weights).chain(denominator).collect();
    b.apply1(op, &inputs)
}

/// What a row's loss and gradient are made of.
///
/// A sample that is nearly right has a loss near 0, and a probability near 1: whatever is the difference of two such numbers is
/// computed from the other classes' share instead, so that nothing cancels.
struct Sample<T> {
    /// max x
    top: T,
    /// sum exp(x - max x)
    sum: T,
    /// 1 - p_label
    others: T,
    cross_entropy: T,
    weight: T,
}

/// The inputs beside the logits.
struct Batch<'a, T> {
    labels: &'a [i32],
    class_weights: Option<&'a [T]>,
    /// 1 / n, or 0 where n is.
    share: T,
}

impl VariableWeightLoss {
    fn inputs(&self) -> usize {
        2 + usize::from(self.class_weights) + usize::from(self.denominator)
    }

    fn batch<'a, T: Real>(&self, args: &Args<'a, T>) -> Result<Batch<'a, T>> {
        let labels = args.ints(1)?;
        let class_weights = if self.class_weights { Some(args.floats(2)?) } else { None };
        let n = if self.denominator { args.floats(self.inputs() - 1)?[0] } else { T::of(labels.len() as f64) };
        Ok(Batch { labels, class_weights, share: if n == T::ZERO { T::ZERO } else { T::ONE / n } })
    }

    /// A row with its label; none where the label is outside.
    fn sample<T: Real>(&self, x: &[T], label: usize, class_weights: Option<&[T]>) -> Option<Sample<T>> {
        let target = *x.get(label)?;
        let top = x.iter().fold(T::LOWEST, |top, &x| top.max(x));
        let exps = |c: usize| (x[c] - top).exp();
        let rest = (0..x.len()).filter(|&c| c != label).map(exps).sum::<T>();
        let sum = exps(label) + rest;
        let log_sum = if target == top { rest.ln_1p() } else { sum.ln() };
        let others = rest / sum;
        let smoothing = T::of(self.label_smoothing);
        let even = log_sum + x.iter().map(|&x| top - x).sum::<T>() / T::of(x.len() as f64);
        let cross_entropy = (T::ONE - smoothing) * (top - target + log_sum) + smoothing * even;
        let hardness = others.powf(T::of(self.gamma));
        let weight = match self.kind {
            LossKind::CrossEntropy => T::ONE,
            LossKind::VariableWeight => T::ONE + T::of(self.lambda) * hardness,
            LossKind::Focal => hardness,
        };
        let weight = weight * class_weights.map_or(T::ONE, |w| w[label]);
        Some(Sample { top, sum, others, cross_entropy, weight })
    }

    fn row_gradient<T: Real>(&self, x: &[T], label: usize, class_weights: Option<&[T]>, dloss: T, dx: &mut [T]) {
        let Some(Sample { top, sum, others, cross_entropy, weight }) = self.sample(x, label, class_weights) else {
            return dx.fill(T::NAN);
        };
        let smoothing = T::of(self.label_smoothing);
        let even = smoothing / T::of(x.len() as f64);
        let share = (x[label] - top).exp() / sum;
        // dw/dx_c = w gamma dq/dx_c / q. Both ratios below are at most 1, and the weight falls to 0 with q.
        let slope = if self.kind == LossKind::Focal { weight * T::of(self.gamma) * cross_entropy * share } else { T::ZERO };
        for (c, dx) in dx.iter_mut().enumerate() {
            let p = (x[c] - top).exp() / sum;
            // Probability less target.
            let excess = if c == label { smoothing - even - others } else { p - even };
            let ratio = match others > T::ZERO {
                true if c == label => -T::ONE,
                true => p / others,
                false => T::ZERO,
            };
            *dx = (weight * excess + slope * ratio) * dloss;
        }
    }

    fn check(&self, inputs: &[TensorType]) -> Result<()> {
        let check = Check("variable_weight_loss");
        let (logits, labels) = (&inputs[0], &inputs[1]);
        check.float("logits", logits)?;
        check.rank("logits", logits, 2)?;
        check.int("labels", labels)?;
        check.shape("labels", labels, &logits.shape[..1])?;
        if self.class_weights {
            check.shape("class_weights", &inputs[2], &logits.shape[1..])?;
        }
        if self.denominator {
            check.shape("denominator", &inputs[self.inputs() - 1], &[])?;
        }
        check.that((0.0..=1.0).contains(&self.label_smoothing), "label_smoothing", "a share in [0, 1]", self.label_smoothing)?;
        check.that(self.gamma >= 0.0 && self.gamma.is_finite(), "gamma", "a number of at least 0", self.gamma)?;
        check.that(self.lambda >= 0.0 && self.lambda.is_finite(), "lambda", "a number of at least 0", self.lambda)
    }

    fn forward<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let width = args.shape(0)[1];
        let (x, batch, loss) = (args.floats(0)?, self.batch(args)?, args.out(0)?);
        let rows = x.chunks(width.max(1)).zip(batch.labels);
        let sum: f64 = rows
            .map(|(x, &label)| {
                let sample = usize::try_from(label).ok().and_then(|label| self.sample(x, label, batch.class_weights));
                sample.map_or(f64::NAN, |s| (s.weight * s.cross_entropy).wide())
            })
            .sum();
        loss[0] = T::of(sum) * batch.share;
        Ok(())
    }

    fn gradient<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let width = args.shape(0)[1];
        let (x, batch, dloss) = (args.floats(0)?, self.batch(args)?, args.floats(self.inputs())?[0]);
        for_rows(args.out(0)?, width, |r, dx| {
            let label = usize::try_from(batch.labels[r]).unwrap_or(width);
            self.row_gradient(&x[r * width..][..width], label, batch.class_weights, dloss * batch.share, dx);
        });
        Ok(())
    }
}

#[cfg(feature = "cuda")]
impl VariableWeightLoss {
    /// A kernel on the inputs of the forward pass and `more`. The weight is told as base + rise q^gamma.
    fn cuda_dispatch(&self, kernel: &str, more: &[cuda::Operand], logits: &TensorType) -> cuda::Dispatch {
        let given = |is: bool, input: usize| if is { cuda::Operand::Input(input) } else { cuda::Operand::Nothing };
        let inputs = [cuda::Operand::Input(0), cuda::Operand::Input(1), given(self.class_weights, 2), given(self.denominator, self.inputs() - 1)];
        let (base, rise) = match self.kind {
            LossKind::CrossEntropy => (1.0, 0.0),
            LossKind::VariableWeight => (1.0, self.lambda),
            LossKind::Focal => (0.0, 1.0),
        };
        let dispatch = cuda::Dispatch::new(&KERNELS, kernel).tensors(inputs).tensors(more.iter().copied()).sizes([logits.shape[0], logits.shape[1]]);
        [self.label_smoothing, base, rise, self.gamma].into_iter().fold(dispatch, cuda::Dispatch::number)
    }
}

#[cfg(feature = "wgpu")]
impl VariableWeightLoss {
    /// A kernel on the inputs of the forward pass and `more`.
    fn dispatch(&self, entry: &str, more: &[Operand], logits: &TensorType) -> Dispatch {
        let given = |is: bool, input: usize| if is { Operand::Input(input) } else { Operand::Nothing };
        let optional = [given(self.class_weights, 2), given(self.denominator, self.inputs() - 1)];
        let operands: Vec<Operand> = [Operand::Input(0), Operand::Input(1)].into_iter().chain(optional).chain(more.iter().copied()).collect();
        let dispatch = Dispatch::new(SHADER, entry, operands).constant("WEIGHTED", self.class_weights).constant("GIVEN", self.denominator);
        let dispatch = dispatch.constant("VARIABLE", self.kind == LossKind::VariableWeight).constant("FOCAL", self.kind == LossKind::Focal);
        let numbers = [self.label_smoothing, self.lambda, self.gamma, f64::NAN];
        numbers.into_iter().fold(dispatch.size(logits.shape[0]).size(logits.shape[1]), Dispatch::number)
    }
}

impl Op for VariableWeightLoss {
    fn stem(&self) -> &'static str {
        "variable_weight_loss"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Check("variable_weight_loss").count(inputs, self.inputs())?;
        self.check(inputs)?;
        Ok(vec![inputs[0].with_shape([])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(6 * inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.forward(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.forward(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        launch.add(self.cuda_dispatch("variable_weight_loss_forward_f32", &[cuda::Operand::Output(0)], &launch.ty(0)));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch.add(self.dispatch("variable_weight_loss_forward_f32", &[Operand::Output(0)], &launch.ty(0)));
        Ok(())
    }
}

impl Op for VariableWeightLossBackward {
    fn stem(&self) -> &'static str {
        "variable_weight_loss"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("variable_weight_loss");
        check.count(inputs, self.0.inputs() + 1)?;
        self.0.check(inputs)?;
        check.shape("dloss", &inputs[self.0.inputs()], &[])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(12 * inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.0.gradient(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.0.gradient(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let more = [cuda::Operand::Input(self.0.inputs()), cuda::Operand::Output(0)];
        let dispatch = self.0.cuda_dispatch("variable_weight_loss_backward_f32", &more, &launch.ty(0));
        launch.add(dispatch.flag(self.0.kind == LossKind::Focal).over(launch.ty(0).shape[0]));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let more = [Operand::Input(self.0.inputs()), Operand::Output(0)];
        launch.add(self.0.dispatch("variable_weight_loss_backward_f32", &more, &launch.ty(0)).over(launch.ty(0).shape[0]));
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let op: VariableWeightLoss = cx.op()?;
    if let Some(dloss) = cx.grad(0) {
        let inputs: Vec<Value> = (0..op.inputs()).map(|i| cx.input(i)).chain([dloss]).collect();
        cx.set_by(0, VariableWeightLossBackward(op), &inputs)?;
    }
    Ok(())
}

fn golden(case: &Golden) -> Result<LossConfig> {
    let weights = case.attributes["class_weights"].as_array();
    Ok(LossConfig {
        kind: case.kind("kind")?,
        lambda: case.number("lambda").unwrap_or(0.0),
        gamma: case.number("gamma").unwrap_or(0.0),
        label_smoothing: case.number("label_smoothing").unwrap_or(0.0),
        class_weights: weights.map(|w| w.iter().filter_map(|x| x.as_f64()).map(|x| x as f32).collect()),
    })
}

fn cases() -> Vec<Case> {
    let config = |kind, gamma, label_smoothing| LossConfig { kind, lambda: 1.5, gamma, label_smoothing, class_weights: None };
    let case = |name: &str, (rows, width): (usize, usize), config: LossConfig| {
        let labels = (0..rows).map(|r| (r * 5 % width) as i32).collect();
        // A constant weight cannot be told from finite differences.
        let logits = Fill::Normal(0.0, 2.0);
        let constant_weight = config.kind == LossKind::VariableWeight;
        let case = Case::of(name, move |b, v| variable_weight_loss(b, v[0], v[1], config.clone(), v.get(2).copied()));
        let case = if constant_weight { case.fixed("x", [rows, width], logits) } else { case.float("x", [rows, width], logits) };
        case.ints("labels", [rows], Fill::Exact(labels))
    };
    // Of each sample the labelled class is ahead: by 10, and so far that f32 has nothing left for the others.
    let nearly_right = |name: &str, ahead: f64, config: LossConfig| {
        let logits = (0..35).map(|i| if i % 7 == i / 7 { ahead } else { 0.125 * f64::from(i % 3) }).collect();
        let case = Case::of(name, move |b, v| variable_weight_loss(b, v[0], v[1], config.clone(), None));
        case.float("x", [5, 7], Fill::Values(logits)).ints("labels", [5], Fill::Exact((0..5).collect()))
    };
    let unbalanced = LossConfig { class_weights: Some(vec![0.5, 2.0, 1.0, 1.5, 0.25, 1.0, 3.0]), ..config(LossKind::Focal, 2.0, 0.1) };
    vec![
        case("one sample of one class", (1, 1), config(LossKind::Focal, 2.0, 0.0)),
        case("cross-entropy", (5, 8), config(LossKind::CrossEntropy, 1.0, 0.0)),
        case("focal", (13, 7), config(LossKind::Focal, 2.0, 0.0)),
        case("focal gentle", (13, 7), config(LossKind::Focal, 0.5, 0.1)),
        case("focal unbalanced", (13, 7), unbalanced.clone()),
        case("focal over 9", (5, 8), config(LossKind::Focal, 1.0, 0.0)).fixed("denominator", [], Fill::Values(vec![9.0])),
        case("unbalanced over 0", (5, 7), unbalanced).fixed("denominator", [], Fill::Values(vec![0.0])),
        case("variable weight", (13, 7), config(LossKind::VariableWeight, 2.0, 0.0)),
        case("focal of power 0", (5, 7), config(LossKind::Focal, 0.0, 0.0)),
        case("many rows", (300, 3), config(LossKind::Focal, 1.0, 0.1)),
        nearly_right("nearly right", 10.0, config(LossKind::CrossEntropy, 1.0, 0.0)),
        nearly_right("focal nearly right", 10.0, config(LossKind::Focal, 0.5, 0.0)),
        nearly_right("focal certain", 200.0, config(LossKind::Focal, 1.0, 0.0)),
        case("256x8", (256, 8), config(LossKind::VariableWeight, 1.0, 0.0)).large(),
    ]
}
