//! What sums of columns launch, as `shaders/common/columns.wgsl` sees them.

use super::launch::{Dispatch, Launch, Operand};
use super::pieces::{ALIGNMENT, Piece};
use crate::device::columns::{Columns, Summed};

impl Columns {
    /// So many parts leave their sums where a binding may begin.
    fn aligned(&self, summed: Summed) -> usize {
        let words = (summed.words() * self.width).max(1);
        1 << ALIGNMENT.trailing_zeros().saturating_sub(2 + words.trailing_zeros())
    }

    /// A workgroup for each block of columns of each part. The shader's parameters start with `Columns`.
    pub fn launch(&self, dispatch: Dispatch) -> Dispatch {
        self.over(dispatch, self.parts())
    }

    /// The launch that sums each part's rows, or with `stage` 0 each part for itself.
    pub fn sum(&self, stage: usize, summed: Summed, dispatch: Dispatch) -> Dispatch {
        let moments = summed == Summed::Moments;
        let dispatch = dispatch.constant("STAGE", stage).constant("MOMENTS", moments).constant("WORDS", format!("{}u", summed.words()));
        self.over(dispatch, if stage == 2 { 1 } else { self.parts() })
    }

    fn over(&self, mut dispatch: Dispatch, parts: usize) -> Dispatch {
        dispatch.parameters.splice(0..0, [self.rows, self.width, self.span, self.parts()].map(|n| n as u32));
        dispatch.rows(self.workgroups(parts))
    }
}

impl Launch<'_> {
    /// Sums the columns of each part, which is a result of its own. The kernel finds its operands from `@binding(1)` on.
    pub fn sum_parts(&mut self, columns: Columns, summed: Summed, mut dispatch: Dispatch) {
        dispatch.operands.insert(0, Operand::Nowhere);
        self.add(columns.sum(0, summed, dispatch));
    }

    /// Sums columns over all rows, in two launches where there are several parts. The kernel finds its operands from `@binding(1)` on; `matrices` are
    /// those that have the rows.
    pub fn sum_columns(&mut self, columns: Columns, summed: Summed, mut dispatch: Dispatch, matrices: &[Operand]) {
        let columns = self.seen_at_once(columns, summed, matrices);
        if columns.parts() == 1 {
            return self.sum_parts(columns, summed, dispatch);
        }
        let partials = self.scratch(columns.partials(summed));
        dispatch.operands.insert(0, partials);
        self.sum_each_part(columns, summed, dispatch.clone(), matrices);
        // It reads what the first left, and no rows.
        dispatch.operands.iter_mut().filter(|operand| matrices.contains(operand)).for_each(|operand| *operand = operand.without());
        self.add(columns.sum(2, summed, dispatch));
    }

    /// The same matrix in parts of which some may be bound at once.
    pub fn seen_at_once(&self, columns: Columns, summed: Summed, matrices: &[Operand]) -> Columns {
        let most = self.most_units(columns.rows, matrices) / columns.aligned(summed);
        // Of a power of two rows a multiple is soon one that a binding may begin at.
        let span = if self.is_seen_whole(matrices) { columns.span } else { columns.span.min(1 << most.max(1).ilog2()) };
        Columns::by(span, columns.rows, columns.width)
    }

    /// The first of the two launches, to the scratch memory that is bound first: as many as it takes to see all rows, each on parts of its own.
    pub fn sum_each_part(&mut self, columns: Columns, summed: Summed, dispatch: Dispatch, matrices: &[Operand]) {
        let Some(pieces) = self.pieces(columns.rows, columns.span * columns.aligned(summed), matrices) else {
            return self.add(columns.sum(1, summed, dispatch));
        };
        for rows in pieces {
            let (some, before) = (Columns { rows: rows.len(), ..columns }, Columns { rows: rows.start, ..columns });
            let mut launch = some.sum(1, summed, dispatch.clone());
            self.narrow(&mut launch, &Piece::new(rows.clone(), columns.rows, matrices));
            let first = if rows.start == 0 { 0 } else { before.partials(summed) };
            let bytes = |partials: usize| 4 * partials as u64;
            launch.ranges.push((launch.operands[0], bytes(first)..bytes(first + some.partials(summed))));
            self.add(launch);
        }
    }
}
