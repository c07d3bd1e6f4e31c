//! Matrices that are gone through by columns, as `shaders/common/columns.wgsl` sees them, and the sums of their columns.

use super::launch::{COLUMNS, Dispatch, Launch, Operand, WIDTH};
use super::pieces::{ALIGNMENT, Piece};

/// Workgroups that keep the largest GPUs busy: as many as they hold at once.
const FULL: usize = 1024;
/// Rows that are worth a workgroup of their own.
const LEAST: usize = 8 * WIDTH / COLUMNS;
/// Rows that an invocation may add up one after another before digits are lost.
const MOST: usize = 128 * WIDTH / COLUMNS;
/// Rows of a workgroup that only maps.
const MAPPED: usize = LEAST;

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summed {
    /// So many sums of each column, at most three.
    Sums(usize),
    /// Count, mean, and the sum of squared distances from it.
    Moments,
}

impl Summed {
    fn words(self) -> usize {
        match self {
            Summed::Sums(words) => words,
            Summed::Moments => 3,
        }
    }
}

/// A matrix, and how it is split between workgroups: by blocks of columns, and by rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    rows: usize,
    width: usize,
    /// Rows of a part; the last may have fewer.
    span: usize,
}

impl Columns {
    /// In parts of so many rows.
    pub fn by(span: usize, rows: usize, width: usize) -> Self {
        Columns { rows, width, span: span.max(1) }
    }

    /// For kernels that map each element.
    pub fn mapped(rows: usize, width: usize) -> Self {
        Columns::by(MAPPED, rows, width)
    }

    /// For sums over all rows: parts enough to fill a GPU, none too small to be worth it and none too long to be exact.
    pub fn summed(rows: usize, width: usize) -> Self {
        let parts = FULL.div_ceil(width.div_ceil(COLUMNS).max(1));
        Columns::by(rows.div_ceil(parts).clamp(LEAST, MOST), rows, width)
    }

    /// How many parts there are.
    pub fn parts(&self) -> usize {
        self.rows.div_ceil(self.span).max(1)
    }

    /// Elements that the sums of the parts take.
    pub fn partials(&self, summed: Summed) -> usize {
        self.parts() * summed.words() * self.width
    }

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
        dispatch.rows(self.width.div_ceil(COLUMNS) * parts)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(rows: usize, width: usize) -> usize {
        Columns::summed(rows, width).parts()
    }

    #[test]
    fn few_columns_of_many_rows_are_split_until_a_gpu_is_full() {
        assert_eq!(parts(8 * 112 * 112, 64), 512);
        assert_eq!(parts(8 * 28 * 28, 512), 64);
        assert_eq!(parts(1_000_000, 1), 1024);
    }

    #[test]
    fn parts_are_worth_a_workgroup_and_short_enough_to_be_exact() {
        assert_eq!([parts(0, 7), parts(1, 7), parts(64, 7), parts(65, 7)], [1, 1, 1, 2]);
        assert_eq!(parts(8 * 7 * 7, 2048), 7);
        assert_eq!([parts(8, 577 * 768), parts(5000, 577 * 768)], [1, 5]);
    }

    #[test]
    fn parts_cover_the_rows() {
        for rows in [1, 63, 64, 65, 1000, 4097, 99_999] {
            for width in [1, 32, 33, 700, 2048] {
                let columns = Columns::summed(rows, width);
                assert!((columns.parts() - 1) * columns.span < rows && rows <= columns.parts() * columns.span, "{columns:?}");
                assert_eq!(columns.partials(Summed::Sums(2)), 2 * width * columns.parts());
            }
        }
    }
}
