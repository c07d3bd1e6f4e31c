//! Cross-entropy of rows of logits, the mean over the counted ones, as PyTorch's `F.cross_entropy`.
//!
//! ```text
//! target_c = (1 - s) [c = label] + s / V                       s: label smoothing
//! loss     = 1/n sum over counted rows of (lse - (1 - s) x_label - s mean(x)),  lse = ln sum exp(x)
//! dx_c     = (exp(x_c - lse) - target_c) dloss / n
//! ```
//!
//! x is [R, V], labels i32\[R\]; a row whose label is `ignore_index` does not count. n is the number of counted rows, or the number that
//! the host gives: the count over a whole effective batch, so that the gradients of its ragged micro-batches add up to those of one
//! big batch. Where n is 0 the loss and its gradient are 0. Labels are to be checked before a run; one outside [0, V) that is not
//! `ignore_index` makes loss and row gradient NaN, which an optimizer step refuses. What the row's lse is made of is saved for the backward pass.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real, for_heavy_rows, for_rows, max, sum};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("cross_entropy");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/ln_1p", "cross_entropy");

/// Logits of a workgroup.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const PART: usize = 4096;

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    precision: Precision::Full,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    golden: Some(|case, b, input| {
        let ignore = case.attributes["ignore_index"].as_i64().unwrap_or(-100) as i32;
        Ok(vec![("loss", cross_entropy(b, input("x")?, input("labels")?, None, case.number("label_smoothing")?, ignore)?)])
    }),
    fill,
    ..Row::new("cross_entropy", head!("cross_entropy.rs"), cases)
};

/// Labels within a row; of what the forward saved, a row's largest logit and sum.
fn fill(op: &dyn Op, inputs: &[TensorType], i: usize) -> Option<Fill> {
    let is_backward = op.downcast::<CrossEntropyBackward>().is_some();
    let width = inputs[usize::from(is_backward)].shape.rows_and_width().1;
    match (is_backward, i) {
        (false, 1) | (true, 3) => Some(Fill::Ints(0, width as i32)),
        (true, 2) => Some(Fill::Uniform(4.0, 8.0)),
        _ => None,
    }
}

/// The forward pass. Inputs: logits [R, V], labels i32\[R\], and f32[] with `denominator`. Outputs: loss [], and what the backward
/// needs of each row (optional): [R, 2], the largest logit and the logarithm of the sum of exponentials relative to it. Apart, since their sum
/// would be rounded to the size of the logits, and a loss near 0 is the difference.
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropy {
    /// There is a third input, by which the sum is divided.
    pub denominator: bool,
    /// The share of the target that is spread evenly over all classes, in [0, 1].
    pub label_smoothing: f64,
    /// The label of rows that do not count.
    pub ignore_index: i32,
}

/// The gradient of the logits, in their place. Inputs: dloss [], logits [R, V], what the forward saved [R, 2], labels i32\[R\], and f32[] with `denominator`.
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropyBackward(pub CrossEntropy);

/// The mean over counted rows of the cross-entropy of `logits` [R, V] with `labels` i32\[R\]; with `denominator` f32[] their sum over it.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match or the smoothing is outside [0, 1].
pub fn cross_entropy(
    b: &mut Builder,
    logits: Value,
    labels: Value,
    denominator: Option<Value>,
    label_smoothing: f64,
    ignore_index: i32,
) -> Result<Value> {
    let inputs: Vec<Value> = [logits, labels].into_iter().chain(denominator).collect();
    b.apply1(CrossEntropy { denominator: denominator.is_some(), label_smoothing, ignore_index }, &inputs)
}

impl CrossEntropy {
    /// 1 / n, or 0 where n is.
    fn share<T: Real>(&self, labels: &[i32], denominator: Option<T>) -> T {
        let n = denominator.unwrap_or_else(|| T::of(labels.iter().filter(|&&l| l != self.ignore_index).count() as f64));
        if n == T::ZERO { T::ZERO } else { T::ONE / n }
    }

    /// (loss, largest logit, logarithm of the sum) of one row.
    #[inline(always)]
    fn row<T: Real>(&self, x: &[T], label: i32) -> [T; 3] {
        let top = max(x);
        let exps = sum(
            x,
            #[inline(always)]
            |x| (x - top).exp(),
        );
        let log_sum = exps.ln();
        let smoothing = T::of(self.label_smoothing);
        // The distances are small where the logits are large: subtract first.
        let mut loss = (T::ONE - smoothing) * (top - position(x, label).map_or(T::NAN, |i| x[i]) + log_sum);
        if smoothing > T::ZERO {
            let distances = sum(
                x,
                #[inline(always)]
                |x| top - x,
            );
            loss += smoothing * (distances / T::of(x.len() as f64) + log_sum);
        }
        [if label == self.ignore_index { T::ZERO } else { loss }, top, log_sum]
    }

    /// The gradient of one row, which holds the logits.
    #[inline(always)]
    fn row_gradient<T: Real>(&self, [top, log_sum]: [T; 2], label: i32, dloss: T, dx: &mut [T]) {
        if label == self.ignore_index {
            return dx.fill(T::ZERO);
        }
        let smoothing = T::of(self.label_smoothing);
        let even = smoothing / T::of(dx.len() as f64);
        let target = position(dx, label);
        let scale = if target.is_some() { dloss } else { T::NAN };
        for dx in dx.iter_mut() {
            *dx = ((*dx - top - log_sum).exp() - even) * scale;
        }
        if let Some(target) = target {
            dx[target] -= (T::ONE - smoothing) * scale;
        }
    }

    fn check(&self, logits: &TensorType, labels: &TensorType, denominator: Option<&TensorType>) -> Result<()> {
        let check = Check("cross_entropy");
        check.float("logits", logits)?;
        check.rank("logits", logits, 2)?;
        check.int("labels", labels)?;
        check.shape("labels", labels, &logits.shape[..1])?;
        check.that((0.0..=1.0).contains(&self.label_smoothing), "label_smoothing", "a share in [0, 1]", self.label_smoothing)?;
        denominator.map_or(Ok(()), |d| check.shape("denominator", d, &[]).and(check.float("denominator", d)))
    }

    fn forward<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let width = args.shape(0)[1];
        let (x, labels) = (args.floats(0)?, args.ints(1)?);
        let denominator = if self.denominator { args.floats(2)?.first().copied() } else { None };
        let rows: &mut [T] = if labels.is_empty() { &mut [] } else { args.workspace()? };
        let loss = args.out(0)?;
        for_heavy_rows(
            rows,
            3,
            width,
            #[inline(always)]
            |r, row| row.copy_from_slice(&self.row(&x[r * width..][..width], labels[r])),
        );
        if let Some(saved) = args.optional_out(1) {
            saved.chunks_mut(2).zip(rows.chunks(3)).for_each(|(saved, row)| saved.copy_from_slice(&row[1..]));
        }
        let sum: f64 = rows.chunks(3).map(|row| row[0].wide()).sum();
        loss[0] = T::of(sum) * self.share(labels, denominator);
        Ok(())
    }

    fn gradient<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let width = args.shape(1)[1];
        let (dloss, saved, labels) = (args.floats(0)?[0], args.floats(2)?, args.ints(3)?);
        let denominator = if self.denominator { args.floats(4)?.first().copied() } else { None };
        let dloss = dloss * self.share(labels, denominator);
        let (x, dx) = args.in_out(1, 0)?;
        for_rows(
            dx,
            width,
            #[inline(always)]
            |r, dx| {
                if let Some(x) = x {
                    dx.copy_from_slice(&x[r * width..][..width]);
                }
                self.row_gradient([saved[2 * r], saved[2 * r + 1]], labels[r], dloss, dx);
            },
        );
        Ok(())
    }
}

/// Workgroups that the logits take.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn workgroups(logits: &TensorType) -> usize {
    logits.shape[0] * logits.shape[1].div_ceil(PART)
}

#[cfg(feature = "cuda")]
impl CrossEntropy {
    /// The input by which the sum is divided, where there is one.
    fn cuda_denominator(&self, input: usize) -> cuda::Operand {
        if self.denominator { cuda::Operand::Input(input) } else { cuda::Operand::Nothing }
    }
}

#[cfg(feature = "wgpu")]
impl CrossEntropy {
    /// The input by which the sum is divided, where there is one.
    fn denominator(&self, input: usize) -> Operand {
        if self.denominator { Operand::Input(input) } else { Operand::Nothing }
    }

    /// `on`: SAVE or IN_PLACE, if one of them holds.
    fn dispatch(&self, entry: &str, operands: impl Into<Vec<Operand>>, logits: &TensorType, on: Option<&str>) -> Dispatch {
        let dispatch = Dispatch::new(SHADER, entry, operands).constant("PART", format!("{PART}u")).constant("GIVEN", self.denominator);
        let dispatch = ["SAVE", "IN_PLACE"].into_iter().fold(dispatch, |dispatch, name| dispatch.constant(name, on == Some(name)));
        let [rows, width] = [logits.shape[0], logits.shape[1]];
        let sizes = dispatch.size(rows).size(width).size(width.div_ceil(PART)).word(self.ignore_index as u32);
        sizes.number(self.label_smoothing).number(f64::NAN)
    }
}

/// The label as an index into the row, where it is one.
#[inline(always)]
fn position<T>(x: &[T], label: i32) -> Option<usize> {
    usize::try_from(label).ok().filter(|&i| i < x.len())
}

impl Op for CrossEntropy {
    fn stem(&self) -> &'static str {
        "cross_entropy"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Check("cross_entropy").count(inputs, if self.denominator { 3 } else { 2 })?;
        self.check(&inputs[0], &inputs[1], inputs.get(2))?;
        Ok(vec![inputs[0].with_shape([]), inputs[0].with_shape([inputs[0].shape[0], 2])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(4 * inputs[0].len() as u64, inputs, &outputs[..1])
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1]
    }

    fn workspace(&self, inputs: &[TensorType], _threads: usize) -> usize {
        3 * inputs[0].shape[0]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.forward(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.forward(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let [x, labels, loss, saved] = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0), cuda::Operand::Output(1)];
        let (logits, denominator) = (launch.ty(0), self.cuda_denominator(2));
        let (rows, ignored) = (logits.shape[0], self.ignore_index as u32);
        let (parts, sizes) = (launch.scratch(3 * workgroups(&logits)), [rows, logits.shape[1], logits.shape[1].div_ceil(PART)]);
        let sums = launch.scratch(rows.div_ceil(cuda::BLOCK));
        launch.add(cuda::Dispatch::new(&KERNELS, "cross_entropy_parts_f32").tensors([x, parts]).sizes(sizes).rows(workgroups(&logits)));
        let dispatch = cuda::Dispatch::new(&KERNELS, "cross_entropy_rows_f32").tensors([x, parts, labels, sums, saved]);
        launch.add(dispatch.sizes(sizes).word(ignored).number(self.label_smoothing).over(rows));
        launch.add(cuda::Dispatch::new(&KERNELS, "cross_entropy_forward_f32").tensors([sums, labels, denominator, loss]).sizes([rows]).word(ignored));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let [x, labels, loss, saved] = [Operand::Input(0), Operand::Input(1), Operand::Output(0), Operand::Output(1)];
        // How many rows count is known where all labels are seen.
        let units = if self.denominator { launch.ty(0).shape[0] } else { 1 };
        launch.in_summed_pieces(units, &[x, labels, saved], &[loss], |launch| {
            let logits = launch.ty(0);
            let parts = launch.scratch(3 * workgroups(&logits));
            launch.add(self.dispatch("cross_entropy_parts_f32", [x, parts], &logits, None).rows(workgroups(&logits)));
            let operands = [x, parts, labels, self.denominator(2), loss, saved];
            launch.add(self.dispatch("cross_entropy_forward_f32", operands, &logits, launch.out_ty(1).map(|_| "SAVE")));
        });
        Ok(())
    }
}

impl Op for CrossEntropyBackward {
    fn stem(&self) -> &'static str {
        "cross_entropy"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("cross_entropy");
        check.count(inputs, if self.0.denominator { 5 } else { 4 })?;
        check.shape("dloss", &inputs[0], &[])?;
        self.0.check(&inputs[1], &inputs[3], inputs.get(4))?;
        check.shape("saved", &inputs[2], &[inputs[1].shape[0], 2])?;
        Ok(vec![inputs[1]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(4 * inputs[1].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(1, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.0.gradient(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.0.gradient(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let [dloss, x, saved, labels] = [0, 1, 2, 3].map(cuda::Operand::Input);
        let (logits, scale, ignored) = (launch.ty(1), launch.scratch(1), self.0.ignore_index as u32);
        let dispatch = cuda::Dispatch::new(&KERNELS, "cross_entropy_backward_scale_f32").tensors([dloss, scale, labels, self.0.cuda_denominator(4)]);
        launch.add(dispatch.sizes([logits.shape[0]]).word(ignored));
        let dispatch = cuda::Dispatch::new(&KERNELS, "cross_entropy_backward_f32").tensors([x, scale, labels, saved, cuda::Operand::Output(0)]);
        let dispatch = dispatch.sizes([logits.shape[1], logits.shape[1].div_ceil(PART)]).word(ignored).number(self.0.label_smoothing);
        launch.add(dispatch.rows(workgroups(&logits)));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let logits = launch.ty(1);
        let scale = launch.scratch(1);
        let [dloss, x, saved, labels] = [0, 1, 2, 3].map(Operand::Input);
        let operands = [dloss, scale, labels, self.0.denominator(4)];
        launch.add(self.0.dispatch("cross_entropy_backward_scale_f32", operands, &logits, None));
        let dx = Operand::Output(0);
        launch.in_pieces(logits.shape[0], &[x, saved, labels, dx], |launch| {
            let logits = launch.ty(1);
            let in_place = launch.in_place(1).then_some("IN_PLACE");
            let dispatch = self.0.dispatch("cross_entropy_backward_f32", [x, scale, labels, saved, dx], &logits, in_place);
            launch.add(dispatch.rows(workgroups(&logits)));
        });
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let op: CrossEntropy = cx.op()?;
    if let Some(dloss) = cx.grad(0) {
        let mut inputs = vec![dloss, cx.input(0), cx.output(1), cx.input(1)];
        inputs.extend(op.denominator.then(|| cx.input(2)));
        cx.set_by(0, CrossEntropyBackward(op), &inputs)?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let logits = Fill::Normal(2.0, 3.0);
    let case = |name: &str, width: usize, labels: Vec<i32>, smoothing: f64| {
        let rows = labels.len();
        let case = Case::of(name, move |b, v| cross_entropy(b, v[0], v[1], v.get(2).copied(), smoothing, -100));
        case.float("x", [rows, width], logits.clone()).ints("labels", [rows], Fill::Exact(labels))
    };
    // The gradient takes the place of logits that nobody reads any more; a scale's own gradient does not.
    let in_place = Case::of("in place", |b, v| {
        let logits = super::scale::scale(b, v[0], 0.5)?;
        cross_entropy(b, logits, v[1], None, 0.1, -100)
    });
    // Classes that are ruled out: all of a part, and some beside others.
    let ruled_out = (0..2 * 4100).map(|i| if i % 4100 < 4096 + i / 4100 { f64::NEG_INFINITY } else { f64::from(i % 3) });
    let masked = Case::of("classes ruled out", |b, v| cross_entropy(b, v[0], v[1], None, 0.0, -100));
    let masked = masked.float("x", [2, 4100], Fill::Values(ruled_out.collect())).ints("labels", [2], Fill::Exact(vec![4097, 4099]));
    let ragged: Vec<i32> = (0..37).map(|r| if r % 5 == 3 { -100 } else { r * 29 % 131 }).collect();
    vec![
        case("one row of one class", 1, vec![0], 0.0),
        case("no rows", 7, vec![], 0.1),
        case("5x7", 7, vec![0, 6, 3, -100, 1], 0.0),
        case("128x64 over 99", 64, (0..128).map(|r| if r % 7 == 1 { -100 } else { r % 64 }).collect(), 0.1).fixed(
            "denominator",
            [],
            Fill::Values(vec![99.0]),
        ),
        case("5x7 smoothed", 7, vec![0, 6, 3, -100, 1], 0.1),
        case("37x131 smoothed", 131, ragged.clone(), 0.3),
        case("37x131 over 64", 131, ragged, 0.1).fixed("denominator", [], Fill::Values(vec![64.0])),
        case("several parts of a row", 9001, vec![4095, 4096, 9000], 0.1),
        case("many rows", 5, (0..300).map(|r| r % 5).collect(), 0.1),
        in_place.float("x", [3, 4100], Fill::Normal(2.0, 3.0)).ints("labels", [3], Fill::Exact(vec![4095, 4099, -100])),
        masked,
        case("nothing counted", 7, vec![-100; 3], 0.1),
        case("nothing counted over 0", 7, vec![-100; 3], 0.0).fixed("denominator", [], Fill::Values(vec![0.0])),
        Case::of("640x30524", |b, v| cross_entropy(b, v[0], v[1], None, 0.1, -100))
            .normal("x", [640, 30524])
            .ints("labels", [640], Fill::Ints(0, 30524))
            .large(),
    ]
}
