//! How the matrix products of `shaders/common/gemm.wgsl` are shared out among workgroups.

use crate::device::wgpu::{Dispatch, Fragments, Launch, Operand};

/// Invocations of a workgroup.
const WIDTH: usize = 256;
/// Workgroups that keep a GPU busy: some two for each processor of a large one.
const ENOUGH: usize = 256;
/// The least part of K. Writing and reading back its sums is at most a quarter of the traffic that reading its factors is.
const PART: usize = 256;
/// Rows that `gemv` takes, and columns of one of its workgroups.
const GEMV: (usize, usize) = (4, 16);

/// The text of an operator's product, by how it walks along its factors: `common/gemm`, one of the walks, and the operator's own file.
#[derive(Debug, Clone, Copy)]
pub struct Texts {
    /// One number at a time.
    pub scalars: &'static str,
    /// Four neighbours at a time.
    pub vectors: &'static str,
    /// The same, and fragments multiplied at once.
    pub fragments: &'static str,
}

/// The [`Texts`] of the operator whose shader has this name.
macro_rules! product_texts {
    ($name:literal) => {
        $crate::ops::support::product::Texts {
            scalars: $crate::device::wgpu::shader!("common/gemm", "common/gemm_slices", "common/gemm_scalars", $name),
            vectors: $crate::device::wgpu::shader!("common/gemm", "common/gemm_slices", "common/gemm_blocks", "common/gemm_vectors", $name),
            fragments: $crate::device::wgpu::shader!("common/gemm", "common/gemm_blocks", "common/gemm_matrices", $name),
        }
    };
}
pub(crate) use product_texts;

/// A batch of products of [m, k] and [k, n].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Products.
    pub batch: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// What is summed over.
    pub k: usize,
}

/// How a factor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lies {
    /// Neighbours are neighbours in k; else they are rows, or columns, of one k.
    pub along_k: bool,
    /// So many neighbours come one after another in memory, again and again; the product's own extent where it is but stored.
    pub run: usize,
}

impl Lies {
    /// Neighbours in k.
    pub fn along_k(run: usize) -> Self {
        Lies { along_k: true, run }
    }

    /// Neighbours in rows or columns.
    pub fn across_k(run: usize) -> Self {
        Lies { along_k: false, run }
    }
}

/// What computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Tiles of 64 x 64, one number of a factor at a time.
    Scalars,
    /// Tiles, by so many invocations down and across, each for so many times 4 x 4 results: (down, across), (times down, times across).
    Tiles((usize, usize), (usize, usize)),
    /// Tiles, by so many subgroups down and across, each for 2 x 2 fragments.
    Fragments((usize, usize), Fragments),
    /// A few rows at once.
    Rows,
}

/// A product shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What computes it.
    pub kernel: Kernel,
    /// It reads its factors four neighbours at a time.
    pub vectors: bool,
    /// How much of K a workgroup walks along.
    pub depth: usize,
    /// In how many parts K is cut.
    pub parts: usize,
}

impl Kernel {
    /// All of them, those of fragments where a GPU multiplies such.
    fn all(fragments: Option<Fragments>) -> impl Iterator<Item = Self> {
        let one = [Kernel::Scalars, Kernel::Rows, LOW, NARROW, SMALL, LARGE];
        one.into_iter().chain(LARGER.into_iter().rev()).chain(fragments.map(Kernel::of_fragments))
    }

    /// What it is asked for by.
    fn name(self) -> String {
        let (rows, columns) = self.extents();
        match self {
            Kernel::Scalars => "scalars".to_owned(),
            Kernel::Tiles(..) => format!("tiles{rows}x{columns}"),
            Kernel::Fragments(..) => "fragments".to_owned(),
            Kernel::Rows => "rows".to_owned(),
        }
    }

    /// Whether it computes such a product, whose factors both come in fours or not. One number at a time, tiles of 64 x 64 are [`Kernel::Scalars`].
    fn takes(self, product: Product, fours: bool) -> bool {
        match self {
            Kernel::Rows => product.m <= GEMV.0,
            Kernel::Scalars | LOW | NARROW | SMALL => true,
            Kernel::Tiles(..) | Kernel::Fragments(..) => fours,
        }
    }

    /// The kernel of this name, where it takes the product.
    fn forced(name: Option<&str>, product: Product, fours: bool, fragments: Option<Fragments>) -> Option<Self> {
        let name = name?;
        Kernel::all(fragments).find(|kernel| kernel.name() == name && kernel.takes(product, fours))
    }

    /// Rows and columns of a workgroup.
    fn extents(self) -> (usize, usize) {
        match self {
            Kernel::Tiles((down, across), (tall, wide)) => (4 * down * tall, 4 * across * wide),
            Kernel::Scalars => LARGE.extents(),
            Kernel::Fragments((down, across), Fragments { edge, .. }) => (2 * edge * down, 2 * edge * across),
            Kernel::Rows => GEMV,
        }
    }

    /// Workgroups of a product, K in one part.
    fn workgroups(self, Product { batch, m, n, .. }: Product) -> usize {
        let (rows, columns) = self.extents();
        batch * m.div_ceil(rows) * n.div_ceil(columns)
    }

    /// The tile that a workgroup's subgroups make: as square as can be, and rather tall.
    fn of_fragments(fragments: Fragments) -> Self {
        let subgroups = WIDTH / fragments.subgroup;
        let across = 1 << (subgroups.ilog2() / 2);
        Kernel::Fragments((subgroups / across, across), fragments)
    }

    /// Results that it computes, those beyond the last row and column too.
    fn area(self, product: Product) -> usize {
        let (rows, columns) = self.extents();
        self.workgroups(product) * rows * columns
    }
}

/// Tiles for few rows, for few columns, for few of both, and for others.
const LOW: Kernel = Kernel::Tiles((4, 16), (1, 1));
const NARROW: Kernel = Kernel::Tiles((16, 4), (1, 1));
const SMALL: Kernel = Kernel::Tiles((8, 8), (1, 1));
const LARGE: Kernel = Kernel::Tiles((16, 16), (1, 1));
/// Tiles of which an invocation has several, the largest first.
const LARGER: [Kernel; 3] = [Kernel::Tiles((16, 16), (2, 2)), Kernel::Tiles((16, 16), (2, 1)), Kernel::Tiles((16, 16), (1, 2))];

impl Product {
    /// The kernel of this name where it takes the product, else the best, and how it goes along K; a function of the extents, of how A and B lie, and of the
    /// fragments that a GPU multiplies at once, where the factors are such. Nothing else.
    pub fn plan(self, told: Option<&str>, a: Lies, b: Lies, fragments: Option<Fragments>) -> Plan {
        let fours = a.run.is_multiple_of(4) && b.run.is_multiple_of(4);
        let kernel = Kernel::forced(told, self, fours, fragments).unwrap_or_else(|| self.best(fours, fragments));
        let vectors = match kernel {
            Kernel::Scalars => false,
            Kernel::Rows => fours && a.along_k && b.along_k,
            Kernel::Tiles(..) | Kernel::Fragments(..) => fours,
        };
        let (depth, parts) = cut(self.k, (ENOUGH / kernel.workgroups(self).max(1)).clamp(1, self.most_parts()));
        Plan { kernel, vectors, depth, parts }
    }

    /// The most parts of K that are worth it.
    fn most_parts(self) -> usize {
        (self.k / PART).max(1)
    }

    /// The largest tiles that still make enough workgroups, with K cut in parts if need be.
    fn best(self, fours: bool, fragments: Option<Fragments>) -> Kernel {
        match (self.m, self.n) {
            (..=4, _) => Kernel::Rows,
            (..=16, _) => LOW,
            (_, ..=16) => NARROW,
            (33.., 33..) if LARGE.workgroups(self) * self.most_parts() >= ENOUGH => match fragments {
                _ if !fours => Kernel::Scalars,
                Some(fragments) => Kernel::of_fragments(fragments),
                None => self.larger(),
            },
            _ => SMALL,
        }
    }

    /// Larger tiles read less, where they are enough for a GPU and not much emptier.
    fn larger(self) -> Kernel {
        let fits = |kernel: &Kernel| kernel.workgroups(self) >= ENOUGH && 8 * kernel.area(self) <= 9 * LARGE.area(self);
        LARGER.into_iter().find(fits).unwrap_or(LARGE)
    }

    /// Adds the launches of a product. `dispatch` names the entry points `<op>_<pass>` without their endings, has what is bound from binding 1 on, and
    /// the sizes that follow `batch`; its text is one of `texts`.
    pub fn launch(self, launch: &mut Launch, texts: Texts, (a, b): (Lies, Lies), mut dispatch: Dispatch) {
        let plan = self.plan(launch.variant(), a, b, launch.abilities().fragments.filter(|_| launch.is_half()));
        let Product { batch, m, n, .. } = self;
        dispatch.source = match plan.kernel {
            Kernel::Fragments(..) => texts.fragments,
            _ if plan.vectors => texts.vectors,
            _ => texts.scalars,
        };
        let dispatch = dispatch.constant("SPLIT", plan.parts > 1).trusted();
        let sums = if plan.parts > 1 { launch.scratch(plan.parts * batch * m * n) } else { Operand::Nowhere };
        let product = match plan.kernel {
            // An entry point of its own, which says so.
            Kernel::Rows => self.prepared(dispatch.clone(), plan, sums, "_rows"),
            kernel => self.prepared(dispatch.clone(), plan, sums, "").variant(kernel.name()),
        };
        launch.add(product.rows(plan.parts * plan.kernel.workgroups(self)));
        if plan.parts > 1 {
            launch.add(self.prepared(dispatch, plan, sums, "_sum").over(batch * m * n));
        }
    }

    fn prepared(self, mut dispatch: Dispatch, plan: Plan, sums: Operand, ending: &str) -> Dispatch {
        let Product { batch, m, n, k } = self;
        dispatch.entry += &format!("{ending}_f32");
        dispatch.operands.insert(0, sums);
        dispatch.parameters.splice(0..0, [m, n, k, plan.depth, batch].map(|size| size as u32));
        // By so many invocations, each for four rows and four columns, as often as that. Only tiles ask for these.
        let ((down, across), (tall, wide)) = match plan.kernel {
            Kernel::Tiles(each, times) => (each, times),
            Kernel::Fragments((down, across), Fragments { edge, .. }) => ((edge * down / 2, edge * across / 2), (1, 1)),
            Kernel::Scalars | Kernel::Rows => ((16, 16), (1, 1)),
        };
        let mut dispatch = dispatch.constant("DOWN", format!("{down}u")).constant("ACROSS", format!("{across}u"));
        if plan.vectors {
            let step = strip(down * tall + across * wide);
            dispatch = dispatch.constant("TALL", tall > 1).constant("WIDE", wide > 1).constant("STEP", format!("{step}u"));
        }
        if let Kernel::Fragments((down, across), Fragments { edge, .. }) = plan.kernel {
            let dispatch = dispatch.constant("SUBGROUPS_DOWN", format!("{down}u")).constant("SUBGROUPS_ACROSS", format!("{across}u"));
            return dispatch.fragments(edge);
        }
        dispatch
    }
}

/// How much of K a strip of so many vectors a k holds: the largest power of two for which each invocation loads at most one block of four k.
fn strip(vectors: usize) -> usize {
    4 * (1 << (WIDTH / vectors).ilog2())
}

/// Even parts of `k`, at most so many, each a multiple of all that kernels take at once: their depth and number.
fn cut(k: usize, parts: usize) -> (usize, usize) {
    let depth = k.div_ceil(parts).next_multiple_of(32).max(32);
    (depth, k.div_ceil(depth).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    fn plan(batch: usize, m: usize, n: usize, k: usize) -> (Kernel, usize, usize) {
        let Plan { kernel, depth, parts, .. } = Product { batch, m, n, k }.plan(None, Lies::along_k(k), Lies::along_k(k), None);
        (kernel, depth, parts)
    }

    fn tiles(down: usize, across: usize) -> Kernel {
        Kernel::Tiles((down, across), (1, 1))
    }

    fn times(down: usize, across: usize) -> Kernel {
        Kernel::Tiles((16, 16), (down, across))
    }

    #[test]
    fn tiles_are_large_where_they_are_enough() {
        // Attention's scores, a linear layer over a picture's tokens, ResNet's first convolution, whose 147 numbers a patch are no multiple of four.
        assert_eq!(plan(96, 577, 577, 64), (times(2, 2), 64, 1));
        assert_eq!(plan(1, 577, 3072, 768), (times(1, 1), 768, 1));
        assert_eq!(plan(1, 8 * 112 * 112, 64, 147), (Kernel::Scalars, 160, 1));
        // The same on one picture is few tiles, and K short.
        assert_eq!(plan(1, 56 * 56, 64, 64), (tiles(8, 8), 64, 1));
    }

    #[test]
    fn tiles_are_larger_where_factors_are_read_by_fours() {
        assert_eq!(plan(1, 4616, 3072, 768), (times(2, 2), 768, 1));
        assert_eq!(plan(1, 4616, 768, 768), (times(2, 1), 768, 1));
        // 64 filters fill no tile that is 128 wide.
        assert_eq!(plan(1, 32 * 112 * 112, 64, 64), (times(2, 1), 64, 1));
        assert_eq!(plan(1, 64, 32 * 112 * 112, 64), (times(1, 2), 64, 1));
        assert_eq!(plan(1, 4616, 3072, 770), (Kernel::Scalars, 800, 1));
    }

    #[test]
    fn both_factors_must_come_in_fours() {
        let vectors = |m: usize, a: Lies, b: Lies| Product { batch: 1, m, n: 64, k: 64 }.plan(None, a, b, None).vectors;
        assert!(vectors(64, Lies::along_k(64), Lies::across_k(8)));
        assert!(!vectors(64, Lies::along_k(63), Lies::across_k(8)));
        assert!(!vectors(64, Lies::along_k(64), Lies::across_k(6)));
        // A few rows by fours want both along K.
        assert!(vectors(4, Lies::along_k(64), Lies::along_k(64)));
        assert!(!vectors(4, Lies::along_k(64), Lies::across_k(64)));
    }

    #[test]
    fn fragments_take_what_large_tiles_would() {
        let kernel = |m: usize, k: usize, edge: usize, subgroup: usize| {
            let fragments = Some(Fragments { edge, subgroup });
            Product { batch: 1, m, n: 768, k }.plan(None, Lies::along_k(k), Lies::across_k(768), fragments).kernel
        };
        // 128 x 64, 64 x 64, 64 x 32.
        assert_eq!(kernel(4616, 768, 16, 32), Kernel::Fragments((4, 2), Fragments { edge: 16, subgroup: 32 }));
        assert_eq!(kernel(4616, 768, 16, 64), Kernel::Fragments((2, 2), Fragments { edge: 16, subgroup: 64 }));
        assert_eq!(kernel(4616, 768, 8, 32), Kernel::Fragments((4, 2), Fragments { edge: 8, subgroup: 32 }));
        // Few rows, and K no multiple of four.
        assert_eq!(kernel(20, 768, 16, 32), tiles(8, 8));
        assert_eq!(kernel(4616, 770, 16, 32), Kernel::Scalars);
    }

    #[test]
    fn a_kernel_that_is_asked_for_is_used_where_it_takes_the_product() {
        let fragments = Some(Fragments { edge: 16, subgroup: 32 });
        let product = |m: usize, n: usize, k: usize| Product { batch: 1, m, n, k };
        let told = |name: &str, of: Product, fragments: Option<Fragments>| {
            let Plan { kernel, vectors, .. } = of.plan(Some(name), Lies::along_k(of.k), Lies::along_k(of.k), fragments);
            (kernel, vectors)
        };
        // By fours all but the one that is for few rows, with whichever extents.
        for of in [product(5, 3, 4), product(4616, 3072, 768), product(0, 4, 8)] {
            for kernel in Kernel::all(fragments).filter(|&kernel| kernel != Kernel::Rows) {
                assert_eq!(told(&kernel.name(), of, fragments), (kernel, kernel != Kernel::Scalars), "{of:?}");
            }
        }
        assert_eq!(told("rows", product(4, 768, 768), None), (Kernel::Rows, true));
        assert_eq!(told("rows", product(5, 768, 768), None), (LOW, true));
        assert_eq!(told("fragments", product(4616, 3072, 768), None), (times(2, 2), true), "the GPU has none");
        assert_eq!(told("mma64", product(4616, 3072, 768), None), (times(2, 2), true), "another device's");
        // One number at a time those that are for that.
        for (name, kernel) in [("scalars", Kernel::Scalars), ("tiles16x64", LOW), ("tiles64x16", NARROW), ("tiles32x32", SMALL)] {
            assert_eq!(told(name, product(70, 70, 770), fragments), (kernel, false));
        }
        for name in ["tiles64x64", "tiles128x128", "fragments"] {
            assert_eq!(told(name, product(4616, 3072, 770), fragments), (Kernel::Scalars, false), "{name}");
        }
    }

    #[test]
    fn rows_name_the_variants() {
        let all: Vec<String> = Kernel::all(Some(Fragments { edge: 16, subgroup: 32 })).map(Kernel::name).collect();
        for row in [&ops::linear::ROW, &ops::matmul::ROW, &ops::conv2d::ROW] {
            assert_eq!(row.wgpu_variants, all, "{}", row.stem);
        }
    }

    #[test]
    fn strips_fill_a_workgroups_memory_and_no_more() {
        // 128 x 128, 128 x 64, 64 x 64, 32 x 32, 64 x 16.
        assert_eq!([64, 48, 32, 16, 20].map(strip), [16, 16, 32, 64, 32]);
        assert!([64, 48, 32, 16, 20].iter().all(|&vectors| strip(vectors) * vectors * 16 <= 16 << 10));
    }

    #[test]
    fn long_sums_are_cut() {
        // The gradient of 64 filters of 1 x 1 from 32 pictures.
        assert_eq!(plan(1, 64, 64, 32 * 56 * 56), (times(1, 1), 416, 242));
        // The last stage of ResNet on one picture.
        assert_eq!(plan(1, 49, 512, 4608), (tiles(8, 8), 576, 8));
    }

    #[test]
    fn few_rows_or_columns_have_their_own() {
        assert_eq!(plan(1, 1, 768, 768), (Kernel::Rows, 256, 3));
        assert_eq!(plan(1, 3, 30524, 768), (Kernel::Rows, 768, 1));
        assert_eq!(plan(1, 12, 768, 768), (tiles(4, 16), 256, 3));
        assert_eq!(plan(1, 4616, 7, 768), (tiles(16, 4), 256, 3));
    }

    #[test]
    fn parts_cover_k_and_none_is_empty() {
        for k in (0..3000).chain([25_088, 401_408, 1 << 20]) {
            for (batch, m, n) in [(1, 1, 1), (1, 5, 300), (1, 64, 64), (1, 64, 147), (1, 392, 512), (4, 12544, 3), (96, 577, 64)] {
                let (product, lies, fragments) = (Product { batch, m, n, k }, Lies::along_k(k), Some(Fragments { edge: 16, subgroup: 32 }));
                let names = Kernel::all(fragments).map(|kernel| Some(kernel.name()));
                for name in names.chain([None]) {
                    let Plan { kernel, depth, parts, .. } = product.plan(name.as_deref(), lies, lies, fragments);
                    assert!(parts * depth >= k && (parts - 1) * depth < k.max(1), "{kernel:?} {batch} {m} {n} {k}: {parts} x {depth}");
                    assert!(parts == 1 || (depth >= PART && parts * kernel.workgroups(product) <= ENOUGH));
                }
            }
        }
    }
}
