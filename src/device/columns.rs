//! Matrices that are gone through by columns, and how their sums are shared out between workgroups, as all GPUs' kernels see them.

/// Columns that a workgroup of [`WIDTH`] goes through side by side.
pub const COLUMNS: usize = 32;
/// Invocations of a workgroup.
const WIDTH: usize = 256;
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
    /// Numbers of a column that are kept.
    pub(super) fn words(self) -> usize {
        match self {
            Summed::Sums(words) => words,
            Summed::Moments => 3,
        }
    }
}

/// A matrix, and how it is split between workgroups: by blocks of columns, and by rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    pub(super) rows: usize,
    pub(super) width: usize,
    /// Rows of a part; the last may have fewer.
    pub(super) span: usize,
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

    /// Workgroups, one for each block of columns of each of so many parts.
    pub(super) fn workgroups(&self, parts: usize) -> usize {
        self.width.div_ceil(COLUMNS) * parts
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
