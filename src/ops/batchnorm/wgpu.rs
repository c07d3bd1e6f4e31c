//! What is launched through wgpu.

use super::training::RESIDUAL;
use super::{BatchNorm, BatchNormBackward, BatchNormTraining, BatchNormTrainingBackward, FoldIntoConv2d, StageStatistics};
use crate::device::wgpu::{Columns, Dispatch, Launch, Operand, Summed, shader};
use crate::ops::linear::Activation;

const MAPS: &str = shader!("common/columns", "common/affine", "common/in_place", "batchnorm");
const STATISTICS: &str = shader!("common/columns", "common/column_sums", "batchnorm_statistics");
const SUMS: &str = shader!("common/columns", "common/column_sums", "common/affine", "batchnorm_sums");
const FOLD: &str = shader!("batchnorm_fold");
const STAGE: &str = shader!("batchnorm_stage");

/// An output, or memory in its place where it is not wanted.
fn kept(launch: &mut Launch, output: usize, len: usize) -> Operand {
    if launch.out_ty(output).is_some() { Operand::Output(output) } else { launch.scratch(len) }
}

/// A launch of one of the maps; ReLU follows, and before it a residual is added.
fn map(launch: &Launch, entry: &str, operands: &[Operand], relu: bool, residual: bool) -> Dispatch {
    let dispatch = Dispatch::new(MAPS, entry, operands).constant("IN_PLACE", launch.in_place(0)).constant("RELU", relu);
    dispatch.constant("RESIDUAL", residual).constant("RESIDUAL_IN_PLACE", residual && launch.in_place(RESIDUAL))
}

/// A map of the first input's rows, which `matrices` have.
fn map_rows(launch: &mut Launch, matrices: &[Operand], dispatch: Dispatch) {
    launch.in_pieces(launch.ty(0).shape.rows_and_width().0, matrices, |launch| {
        let (rows, c) = launch.ty(0).shape.rows_and_width();
        launch.add(Columns::mapped(rows, c).launch(dispatch.clone()));
    });
}

impl BatchNorm {
    pub(super) fn launch(&self, launch: &mut Launch) {
        let operands = [Operand::Input(0), Operand::Output(0), Operand::Input(1), Operand::Input(2), Operand::Input(3), Operand::Input(4)];
        let dispatch = map(launch, "batchnorm_forward_f32", &operands, false, false);
        map_rows(launch, &operands[..2], dispatch.number(self.eps));
    }
}

impl BatchNormTraining {
    pub(super) fn launch(&self, launch: &mut Launch) {
        let ((rows, c), in_place) = (launch.ty(0).shape.rows_and_width(), launch.in_place(0));
        let [mean, var, rstd] = [1, 2, 3].map(|output| kept(launch, output, c));
        let (source, held, of) = if self.moments {
            (Operand::Input(self.moments_at()), Operand::Nowhere, launch.ty(self.moments_at()).shape[0])
        } else {
            (Operand::Input(0), Operand::Output(0), rows)
        };
        let statistics = Dispatch::new(STATISTICS, "batchnorm_statistics_f32", [source, held, mean, var, rstd]);
        let statistics = statistics.constant("IN_PLACE", in_place).constant("JOIN", self.moments).number(self.eps).size(rows);
        launch.sum_columns(Columns::summed(of, c), Summed::Moments, statistics, &[source, held]);
        let [x, y] = [Operand::Input(0), Operand::Output(0)];
        let residual = if self.residual { Operand::Input(RESIDUAL) } else { Operand::Nothing };
        let operands = [x, y, Operand::Input(1), Operand::Input(2), mean, rstd, residual];
        let dispatch = map(launch, "batchnorm_training_f32", &operands, self.activation == Activation::Relu, self.residual);
        map_rows(launch, &[x, y, residual], dispatch.number(self.eps));
    }
}

/// What tells where ReLU let dy pass.
enum Passed {
    /// There is no ReLU.
    All,
    /// z, made of x again with these, w and b.
    ByX([Operand; 2]),
    /// y, input 6; dz, output 3, is written too.
    ByY,
}

/// The sums of dz xhat and of dz, of dy and x, the first two inputs; to dw and db, outputs 1 and 2, as they are wanted, and to `sums`.
struct Sums {
    mean: Operand,
    /// rstd, or with `of_variance` the variance.
    spread: Operand,
    of_variance: Option<f64>,
    passed: Passed,
    sums: Option<Operand>,
}

impl Sums {
    fn launch(self, launch: &mut Launch) {
        let (rows, c) = launch.ty(1).shape.rows_and_width();
        let (mut matrices, mut of_channel) = (vec![Operand::Input(0), Operand::Output(0), Operand::Input(1)], [Operand::Nothing; 3]);
        match self.passed {
            Passed::All => {}
            Passed::ByX([w, b]) => of_channel = [self.spread, w, b],
            Passed::ByY => {
                matrices[1] = Operand::Output(3);
                matrices.push(Operand::Input(6));
            }
        }
        let summed = Summed::Sums(2);
        let columns = launch.seen_at_once(Columns::summed(rows, c), summed, &matrices);
        let partials = launch.scratch(columns.partials(summed));
        let constants = [
            ("IN_PLACE", launch.in_place(0)),
            ("RELU", matches!(self.passed, Passed::ByX(_))),
            ("RESIDUAL", matches!(self.passed, Passed::ByY)),
            ("OF_VARIANCE", self.of_variance.is_some()),
            ("WEIGHT", launch.out_ty(1).is_some()),
            ("BIAS", launch.out_ty(2).is_some()),
            ("INPUT", self.sums.is_some()),
        ];
        let dispatch = |entry: &str, operands: Vec<Operand>| {
            let dispatch = Dispatch::new(SUMS, entry, operands).number(self.of_variance.unwrap_or(0.0));
            constants.into_iter().fold(dispatch, |d, (name, value)| d.constant(name, value))
        };
        let [rstd, w, b] = of_channel;
        let b_or_y = matrices.get(3).copied().unwrap_or(b);
        let operands = [&[partials], &matrices[..3], &[self.mean, rstd, w, b_or_y]].concat();
        launch.sum_each_part(columns, summed, dispatch("batchnorm_sums_f32", operands), &matrices);
        let operands = vec![partials, self.spread, Operand::Output(1), Operand::Output(2), self.sums.unwrap_or(Operand::Nowhere)];
        launch.add(columns.sum(2, summed, dispatch("batchnorm_parameters_f32", operands)));
    }
}

impl BatchNormBackward {
    pub(super) fn launch(&self, launch: &mut Launch) {
        let (w, mean, var) = (Operand::Input(2), Operand::Input(3), Operand::Input(4));
        if launch.out_ty(1).is_some() || launch.out_ty(2).is_some() {
            Sums { mean, spread: var, of_variance: Some(self.eps), passed: Passed::All, sums: None }.launch(launch);
        }
        if launch.out_ty(0).is_some() {
            let operands = [Operand::Input(0), Operand::Output(0), w, Operand::Nothing, mean, var];
            let dispatch = map(launch, "batchnorm_backward_input_f32", &operands, false, false);
            map_rows(launch, &operands[..2], dispatch.number(self.eps));
        }
    }
}

impl BatchNormTrainingBackward {
    pub(super) fn launch(&self, launch: &mut Launch) {
        let (rows, c) = launch.ty(1).shape.rows_and_width();
        let [x, w, b, mean, rstd] = [1, 2, 3, 4, 5].map(Operand::Input);
        let relu = self.activation == Activation::Relu;
        let sums = launch.out_ty(0).is_some().then(|| launch.scratch(2 * c));
        let passed = match relu {
            false => Passed::All,
            true if self.residual => Passed::ByY,
            true => Passed::ByX([w, b]),
        };
        Sums { mean, spread: rstd, of_variance: None, passed, sums }.launch(launch);
        if let Some(sums) = sums {
            let (entry, dy) = match self.residual {
                true => ("batchnorm_training_backward_residual_f32", Operand::Output(3)),
                false => ("batchnorm_training_backward_f32", Operand::Input(0)),
            };
            let operands = [dy, Operand::Output(0), w, b, mean, rstd, x, sums];
            let dispatch = map(launch, entry, &operands, relu && !self.residual, false);
            map_rows(launch, &[Operand::Input(0), dy, Operand::Output(0), x], dispatch.number(0.0).size(rows));
        }
    }
}

impl FoldIntoConv2d {
    pub(super) fn launch(&self, launch: &mut Launch) {
        let (n, filters) = (launch.ty(0).len(), launch.ty(1).len());
        let c = if self.bias { Operand::Input(5) } else { Operand::Nothing };
        let operands: Vec<Operand> = (0..5).map(Operand::Input).chain([c, Operand::Output(0), Operand::Output(1)]).collect();
        let dispatch = Dispatch::new(FOLD, "batchnorm_fold_f32", operands).constant("BIAS", self.bias);
        launch.add(dispatch.size(n).size(filters).size(n / filters.max(1)).number(self.eps).over(n.max(filters)));
    }
}

impl StageStatistics {
    pub(super) fn launch(&self, launch: &mut Launch) {
        let n = launch.ty(0).len();
        let operands = [Operand::Update(0), Operand::Input(1), Operand::Input(2), Operand::Input(3)];
        launch.add(Dispatch::new(STAGE, "batchnorm_stage_f32", operands).size(n).number(1.0 - self.momentum).number(self.momentum).over(n));
    }
}
