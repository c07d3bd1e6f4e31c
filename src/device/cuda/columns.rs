//! What sums of columns launch, as `kernels/common/columns.cuh` sees them.

use super::launch::{Dispatch, Launch, Operand};
use crate::device::columns::{Columns, Summed};

impl Columns {
    /// The structure of five words that kernels take.
    fn told(&self, dispatch: Dispatch, stage: usize) -> Dispatch {
        dispatch.structure(vec![self.rows, self.width, self.span, self.parts(), stage])
    }
}

impl Launch<'_> {
    /// Goes down the columns of each part without a sum; as [`Launch::sum_parts`].
    pub fn map_columns(&mut self, columns: Columns, kernel: Dispatch, finish: impl Fn(Dispatch) -> Dispatch) {
        self.sum_parts(columns, kernel, finish);
    }

    /// Sums the columns of each part, which is a result of its own. `kernel` has the tensors, of which the first is `partials`; `finish` adds what comes
    /// behind `Columns`.
    pub fn sum_parts(&mut self, columns: Columns, kernel: Dispatch, finish: impl Fn(Dispatch) -> Dispatch) {
        let grid = columns.workgroups(columns.parts());
        self.add(finish(columns.told(kernel, 0)).rows(grid));
    }

    /// Sums columns over all rows, in two launches where there are several parts. `kernel` makes a launch with its tensors, of which the first is that of
    /// the parts' sums; `finish` adds what comes behind `Columns`.
    pub fn sum_columns(&mut self, columns: Columns, summed: Summed, kernel: impl Fn(Operand) -> Dispatch, finish: impl Fn(Dispatch) -> Dispatch) {
        if columns.parts() == 1 {
            return self.sum_parts(columns, kernel(Operand::Nothing), finish);
        }
        let partials = self.scratch(columns.partials(summed));
        self.add(finish(columns.told(kernel(partials), 1)).rows(columns.workgroups(columns.parts())));
        self.add(finish(columns.told(kernel(partials), 2)).rows(columns.workgroups(1)));
    }
}
