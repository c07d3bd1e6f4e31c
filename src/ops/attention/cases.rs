//! What attention is tested and measured on.

use super::{AttentionOptions, Dropout, Qkv, attention};
use crate::ops::support::case::{Case, Fill};

/// One case in the making: sizes, and which of the options it has.
#[derive(Clone, Default)]
struct Shape {
    batch: usize,
    /// Query batches to a key batch; 0 for q, k and v in one tensor.
    group: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    size: usize,
    causal: bool,
    mask: Option<Fill>,
    lengths: Vec<i32>,
    dropout: f64,
    mean: bool,
}

impl Shape {
    fn case(self, name: &str) -> Case {
        let Shape { batch, group, heads, queries, keys, size, causal, mask, lengths, dropout, mean } = self;
        let (masked, limited) = (mask.is_some(), !lengths.is_empty());
        let build = move |b: &mut crate::graph::Builder, v: &[crate::graph::Value]| {
            let mut rest = v.iter().skip(if group == 0 { 1 } else { 3 }).copied();
            let mut next = |there: bool| if there { rest.next() } else { None };
            let mut options = AttentionOptions { causal, mean_probabilities: mean, ..AttentionOptions::new(heads, size) };
            (options.mask, options.lengths) = (next(masked), next(limited));
            options.dropout = next(dropout > 0.0).map(|rng| Dropout { p: dropout, rng, key: 0x1234_5678_9abc });
            let qkv = if group == 0 { Qkv::Fused(v[0]) } else { Qkv::Separate { q: v[0], k: v[1], v: v[2] } };
            let attended = attention(b, qkv, options)?;
            let mean = attended.probabilities.map(|p| ("probabilities", p));
            Ok([("y", attended.y)].into_iter().chain(mean).collect())
        };
        let width = heads * size;
        let mut case = Case::new(name, build);
        // No gradient flows through the probabilities: a case that looks at them has none.
        let normal = |case: Case, name, shape: [usize; 3]| {
            if mean { case.fixed(name, shape, Fill::Normal(0.0, 1.0)) } else { case.normal(name, shape) }
        };
        if group == 0 {
            case = normal(case, "qkv", [batch, queries, 3 * width]);
        } else {
            case = normal(case, "q", [batch * group, queries, width]);
            case = normal(case, "k", [batch, keys, width]);
            case = normal(case, "v", [batch, keys, width]);
        }
        if let Some(fill) = mask {
            let rows = if let Fill::Exact(values) = &fill { values.len() / keys } else { batch };
            case = case.ints("mask", [rows, keys], fill);
        }
        if limited {
            case = case.ints("lengths", [lengths.len()], Fill::Exact(lengths));
        }
        if dropout > 0.0 {
            case = case.ints("rng", [4], Fill::Exact(vec![7, -9, 3, 1]));
        }
        case
    }
}

fn separate(batch: usize, heads: usize, queries: usize, keys: usize, size: usize) -> Shape {
    Shape { batch, group: 1, heads, queries, keys, size, ..Shape::default() }
}

fn fused(batch: usize, heads: usize, length: usize, size: usize) -> Shape {
    Shape { batch, group: 0, heads, queries: length, keys: length, size, ..Shape::default() }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let prefix = Some(Fill::PrefixMask);
    let holes = |rows: &[[i32; 5]]| Some(Fill::Exact(rows.concat()));
    vec![
        fused(1, 1, 1, 1).case("one"),
        fused(2, 3, 7, 5).case("fused 2x3x7x5"),
        fused(1, 2, 37, 8).case("fused 1x2x37x8"),
        Shape { causal: true, ..fused(2, 2, 13, 4) }.case("fused causal"),
        Shape { causal: true, mask: prefix.clone(), dropout: 0.3, ..fused(2, 2, 13, 4) }.case("fused causal mask dropout"),
        separate(2, 2, 5, 11, 3).case("cross 5x11"),
        separate(2, 2, 11, 5, 3).case("cross 11x5"),
        // Several blocks of queries.
        separate(1, 1, 301, 257, 4).case("blocks 301x257"),
        Shape { causal: true, mask: prefix.clone(), ..separate(1, 1, 300, 303, 4) }.case("blocks causal mask"),
        Shape { causal: true, ..separate(1, 2, 3, 9, 4) }.case("causal, more keys"),
        // The first queries see nothing.
        Shape { causal: true, ..separate(1, 2, 9, 4, 4) }.case("causal, more queries"),
        Shape { mask: prefix.clone(), ..separate(3, 2, 4, 9, 5) }.case("mask"),
        Shape { mask: holes(&[[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]]), ..separate(3, 2, 4, 5, 3) }.case("mask with holes, one empty"),
        Shape { mask: holes(&[[0, 1, 1, 1, 0]]), ..separate(3, 2, 4, 5, 3) }.case("one mask for all"),
        Shape { lengths: vec![6], ..separate(2, 2, 4, 9, 5) }.case("length"),
        Shape { lengths: vec![0, 9, 3], ..separate(3, 2, 4, 9, 5) }.case("lengths"),
        Shape { lengths: vec![7, 5], causal: true, ..separate(2, 2, 4, 9, 5) }.case("lengths causal"),
        Shape { lengths: vec![12, -1], mask: prefix.clone(), ..separate(2, 2, 4, 9, 5) }.case("lengths beyond"),
        separate(3, 4, 1, 13, 16).case("decode"),
        Shape { lengths: vec![5], ..separate(2, 3, 1, 13, 33) }.case("decode length"),
        Shape { mask: holes(&[[0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]), dropout: 0.4, ..separate(2, 2, 1, 5, 3) }.case("decode mask dropout"),
        Shape { group: 3, ..separate(2, 2, 1, 9, 5) }.case("beams decode"),
        Shape { group: 3, mask: prefix.clone(), ..separate(2, 2, 4, 9, 5) }.case("beams"),
        Shape { group: 2, lengths: vec![3, 9, 1, 4], ..separate(2, 2, 4, 9, 5) }.case("beams, lengths of each"),
        Shape { dropout: 0.5, ..separate(2, 2, 5, 11, 3) }.case("dropout"),
        Shape { mean: true, ..separate(2, 3, 7, 11, 4) }.case("probabilities"),
        Shape { mean: true, mask: holes(&[[0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]), causal: true, ..separate(2, 3, 4, 5, 2) }.case("probabilities masked"),
        Shape { mean: true, dropout: 0.3, ..separate(1, 2, 1, 11, 4) }.case("probabilities decode dropout"),
        Shape { mean: true, ..separate(1, 2, 290, 270, 3) }.case("probabilities in blocks"),
        separate(1, 1, 3, 5, 128).case("head of 128"),
        fused(1, 12, 577, 64).case("1x12x577x64").large(),
        fused(1, 12, 197, 64).case("1x12x197x64").large(),
        Shape { causal: true, mask: prefix, ..separate(8, 12, 40, 40, 64) }.case("8x12x40x64 causal").large(),
        Shape { group: 3, ..separate(1, 12, 1, 577, 64) }.case("decode 3x12x577x64").large(),
        Shape { lengths: vec![20], ..separate(3, 12, 1, 40, 64) }.case("decode 3x12x20x64").large(),
    ]
}
