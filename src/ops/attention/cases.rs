//! What attention is tested and measured on.

use super::{AttentionOptions, Dropout, Qkv, attention};
use crate::ops::support::case::{Case, Fill};
use crate::ops::support::philox::Mask;

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
            options.dropout = next(dropout > 0.0).map(|rng| Dropout { p: dropout, rng, key: KEY });
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
            case = case.ints("rng", [4], Fill::Exact(RNG.to_vec()));
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

const RNG: [i32; 4] = [7, -9, 3, 1];
const KEY: u64 = 0x1234_5678_9abc;

/// Cases whose results are known without computing attention: q and k are 0, so that all that is seen counts alike.
fn known() -> Vec<Case> {
    let uniform = |name: &str, [batch, queries]: [usize; 2], v: [[f64; 3]; 2], causal: bool, mask: Option<Vec<i32>>, lengths: Option<Vec<i32>>| {
        let (masked, limited) = (mask.is_some(), lengths.is_some());
        let mut case = Case::of(name, move |b, v| {
            let (mask, lengths) = (masked.then(|| v[3]), limited.then(|| v[3]));
            let options = AttentionOptions { causal, mask, lengths, ..AttentionOptions::new(1, 1) };
            Ok(attention(b, Qkv::Separate { q: v[0], k: v[1], v: v[2] }, options)?.y)
        });
        case = case.fixed("q", [batch, queries, 1], Fill::Values(vec![0.0; batch * queries]));
        case = case.fixed("k", [2, 3, 1], Fill::Values(vec![0.0; 6])).fixed("v", [2, 3, 1], Fill::Values(v.concat()));
        if let Some(mask) = mask {
            case = case.ints("mask", [mask.len() / 3, 3], Fill::Exact(mask));
        }
        if let Some(lengths) = lengths {
            case = case.ints("lengths", [lengths.len()], Fill::Exact(lengths));
        }
        case
    };
    let v = [[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]];
    let mask = vec![1, 1, 0, 0, 1, 1];
    // Each head's values are the unit vectors: y holds the probabilities, here the factors of dropout / 3.
    let dropped = Case::of("known dropout", |b, v| {
        let dropout = Some(Dropout { p: 0.4, rng: v[3], key: KEY });
        Ok(attention(b, Qkv::Separate { q: v[0], k: v[1], v: v[2] }, AttentionOptions { dropout, ..AttentionOptions::new(2, 3) })?.y)
    });
    let units = [[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]].concat();
    let drops = Mask::new(&RNG, KEY, 0.4);
    // Rows of 3 keys take 4 elements; the order is batch, head, query, but that of y is batch, query, head.
    let rows = [0, 2, 1, 3, 4, 6, 5, 7].into_iter();
    let factors = rows.flat_map(|row| (0..3).map(move |j| drops.factor::<f64>(4 * row + j) / 3.0)).collect();
    let dropped = dropped.fixed("q", [2, 2, 6], Fill::Values(vec![0.0; 24])).fixed("k", [2, 3, 6], Fill::Values(vec![0.0; 36]));
    let dropped = dropped.fixed("v", [2, 3, 6], Fill::Values(units.repeat(2))).ints("rng", [4], Fill::Exact(RNG.to_vec()));
    // Scores 0 and ln 3 for both queries.
    let fused = Case::of("known fused", |b, v| Ok(attention(b, Qkv::Fused(v[0]), AttentionOptions::new(1, 1))?.y));
    let fused = fused.fixed("qkv", [1, 2, 3], Fill::Values(vec![1.0, 0.0, 5.0, 1.0, 3.0f64.ln(), 7.0]));
    // One key of each query is so far above the others that any maximum but the right one would overflow: the last that it sees, or the first.
    let apart = |name: &str, causal: bool, slope: f64, size: usize| {
        let case = Case::of(name, move |b, v| {
            let options = AttentionOptions { causal, ..AttentionOptions::new(1, size) };
            Ok(attention(b, Qkv::Separate { q: v[0], k: v[1], v: v[2] }, options)?.y)
        });
        let line = |slope: f64| Fill::Values((0..40 * size).map(|i| 1.0 + slope * (i / size) as f64).collect());
        let first = Fill::Values((0..40 * size).map(|i| if i % size == 0 { 1.0 } else { 0.0 }).collect());
        case.fixed("q", [1, 40, size], first).fixed("k", [1, 40, size], line(slope)).fixed("v", [1, 40, size], line(1.0))
    };
    // Keys and values beyond the length are never met.
    let unread = |name: &str, queries: usize, keys: usize, size: usize| {
        let case = Case::of(name, move |b, v| {
            let options = AttentionOptions { lengths: Some(v[3]), ..AttentionOptions::new(1, size) };
            Ok(attention(b, Qkv::Separate { q: v[0], k: v[1], v: v[2] }, options)?.y)
        });
        let numbers = || Fill::Values((0..size * keys).map(|i| if i < 7 * size { i as f64 / 8.0 } else { f64::NAN }).collect());
        let case = case.fixed("q", [1, queries, size], Fill::Normal(0.0, 1.0)).fixed("k", [1, keys, size], numbers()).fixed("v", [1, keys, size], numbers());
        case.ints("lengths", [1], Fill::Exact(vec![7]))
    };
    let unread_backward = |name: &str, size: usize| {
        let mut case = unread(name, 10, 70, size);
        case.inputs.iter_mut().filter(|input| input.ty.dtype.is_float()).for_each(|input| input.gradient = true);
        case
    };
    vec![
        apart("known, scores far apart", true, 100.0, 1).expects("y", (1..=40).map(f64::from).collect()),
        apart("known, scores far apart, falling", false, -100.0, 1).expects("y", vec![1.0; 40]),
        apart("known, scores far apart, heads of 8", true, 300.0, 8).expects("y", (8..328).map(|i| f64::from(i / 8)).collect()),
        unread("beyond the length", 10, 12, 2),
        unread("beyond the length, heads of 8", 10, 70, 8),
        unread("beyond the length, heads of 72", 10, 70, 72),
        unread_backward("beyond the length, gradients", 8),
        unread_backward("beyond the length, gradients, heads of 72", 72),
        unread("decode, beyond the length", 1, 12, 2),
        unread("decode in pieces, beyond the length", 1, 90, 2),
        uniform("known beams, masks", [4, 1], v, false, Some(mask.clone()), None).expects("y", vec![1.5, 1.5, 30.0, 30.0]),
        uniform("known beams, masks, two queries", [4, 2], v, false, Some(mask), None).expects("y", vec![1.5, 1.5, 1.5, 1.5, 30.0, 30.0, 30.0, 30.0]),
        uniform("known beams, lengths", [4, 1], v, false, None, Some(vec![1, 2, 3, 0])).expects("y", vec![1.0, 1.5, 70.0 / 3.0, 0.0]),
        uniform("known causal", [2, 2], v, true, None, None).expects("y", vec![1.5, 7.0 / 3.0, 15.0, 70.0 / 3.0]),
        uniform("known causal, lengths", [2, 2], v, true, None, Some(vec![2, 1])).expects("y", vec![1.0, 1.5, 0.0, 10.0]),
        dropped.expects("y", factors),
        fused.expects("y", vec![6.5, 6.5]),
    ]
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let prefix = Some(Fill::PrefixMask);
    let holes = |rows: &[[i32; 5]]| Some(Fill::Exact(rows.concat()));
    // In the middle of two tiles and at the end nothing is seen.
    let holes_far = Some(Fill::Exact((0..70).map(|j| i32::from(j % 3 > 0 && !(20..50).contains(&j) && j < 68)).collect()));
    let mut cases = known();
    cases.extend([
        fused(1, 1, 1, 1).case("one"),
        fused(2, 3, 7, 5).case("fused 2x3x7x5"),
        fused(1, 2, 37, 8).case("fused 1x2x37x8"),
        Shape { causal: true, ..fused(2, 2, 13, 4) }.case("fused causal"),
        Shape { causal: true, mask: prefix.clone(), dropout: 0.3, ..fused(2, 2, 13, 4) }.case("fused causal mask dropout"),
        separate(2, 2, 5, 11, 3).case("cross 5x11"),
        fused(0, 2, 5, 3).case("of nothing"),
        // Batches that GPUs can cut.
        Shape { mask: prefix.clone(), lengths: vec![20, 32, 7, 1], dropout: 0.3, ..separate(4, 2, 32, 32, 16) }.case("4x2x32x16"),
        Shape { causal: true, mask: prefix.clone(), dropout: 0.2, ..fused(4, 4, 16, 16) }.case("4x4x16x16 fused"),
        Shape { group: 4, lengths: (0..16).collect(), dropout: 0.4, ..separate(4, 4, 8, 64, 16) }.case("4x4x64x16 beams decode"),
        Shape { mean: true, dropout: 0.3, ..separate(4, 2, 32, 32, 16) }.case("4x2x32x16 probabilities"),
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
        Shape { group: 2, lengths: vec![3, 9, 1, 4], ..separate(2, 2, 1, 9, 5) }.case("beams decode, lengths of each"),
        Shape { dropout: 0.5, ..separate(2, 2, 5, 11, 3) }.case("dropout"),
        Shape { mean: true, ..separate(2, 3, 7, 11, 4) }.case("probabilities"),
        Shape { mean: true, mask: holes(&[[0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]), causal: true, ..separate(2, 3, 4, 5, 2) }.case("probabilities masked"),
        Shape { mean: true, group: 2, ..separate(2, 2, 3, 5, 4) }.case("probabilities, beams"),
        Shape { mean: true, dropout: 0.3, ..separate(1, 2, 1, 11, 4) }.case("probabilities decode dropout"),
        Shape { mean: true, ..separate(1, 2, 290, 270, 3) }.case("probabilities in blocks"),
        separate(1, 1, 3, 5, 128).case("head of 128"),
        separate(1, 2, 40, 37, 96).case("tiles, heads of 96"),
        separate(1, 1, 35, 33, 130).case("tiles, head of 130"),
        // The second strip of a head ends with neither a strip nor a vector short of one.
        separate(1, 2, 9, 10, 40).case("tiles, heads of 40"),
        Shape { causal: true, mask: prefix.clone(), dropout: 0.2, ..fused(1, 2, 70, 64) }.case("tiles, fused causal mask dropout"),
        Shape { group: 2, lengths: vec![50, 71, 33, 0], causal: true, dropout: 0.3, ..separate(2, 2, 41, 71, 5) }.case("tiles, beams, lengths of each"),
        Shape { mask: holes_far.clone(), ..separate(1, 2, 10, 70, 4) }.case("tiles, mask with holes"),
        // What tensor cores take: heads of multiples of 8 columns, in tiles of 64 rows, or of 32 where heads are wide.
        Shape { mask: holes(&[[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]]), ..separate(3, 2, 4, 5, 8) }.case("mask with holes, one empty, heads of 8"),
        Shape { mask: holes_far, ..separate(1, 2, 10, 70, 8) }.case("tiles, mask with holes, heads of 8"),
        Shape { group: 2, lengths: vec![50, 71, 33, 0], causal: true, dropout: 0.3, ..separate(2, 2, 41, 71, 16) }.case("tiles, beams, lengths of each, heads of 16"),
        Shape { group: 2, causal: true, mask: prefix.clone(), ..separate(1, 2, 70, 150, 72) }.case("tiles, beams causal mask, heads of 72"),
        Shape { lengths: vec![130], ..fused(1, 1, 133, 128) }.case("tiles, fused length, head of 128"),
        separate(1, 2, 150, 66, 64).case("tiles 150x66, heads of 64"),
        // More tiles of keys than a ring has places, queries in two blocks; keys beyond the length are there, and are not looked at.
        Shape { lengths: vec![300, 257], ..separate(2, 1, 130, 330, 40) }.case("tiles 130x330, lengths, heads of 40"),
        Shape { group: 2, causal: true, dropout: 0.3, ..separate(1, 1, 197, 211, 80) }.case("tiles, beams causal dropout, heads of 80"),
        Shape { mean: true, causal: true, mask: prefix.clone(), ..separate(1, 4, 70, 90, 8) }.case("tiles, probabilities causal mask, heads of 8"),
        Shape { group: 5, lengths: vec![150, 1, 64, 65, 0], ..separate(1, 2, 1, 150, 33) }.case("decode in pieces"),
        Shape { causal: true, mask: prefix.clone(), dropout: 0.3, ..separate(2, 1, 3, 130, 7) }.case("decode in pieces, causal mask dropout"),
        fused(1, 12, 577, 64).case("1x12x577x64").large(),
        fused(1, 12, 197, 64).case("1x12x197x64").large(),
        Shape { causal: true, mask: prefix, ..separate(8, 12, 40, 40, 64) }.case("8x12x40x64 causal").large(),
        Shape { group: 3, ..separate(1, 12, 1, 577, 64) }.case("decode 3x12x577x64").large(),
        Shape { lengths: vec![20], ..separate(3, 12, 1, 40, 64) }.case("decode 3x12x20x64").large(),
    ]);
    cases
}
