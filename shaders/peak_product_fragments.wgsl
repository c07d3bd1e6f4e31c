// What cooperative matrices can do at most: y = a b^T, a [M, 64], b [256, 64], added up `rounds` times, f16 by f16 with sums in f32.
//
// A subgroup has a square of y, 2 x 2 fragments of EDGE x EDGE sums: four chains that do not wait for each other. Of each EDGE of k it reads two fragments of a
// and two of b, once and straight from memory, and multiplies them `rounds` times. 2 * 64 * 256 FLOPs a row and round; with many rounds nothing but
// multiplying is the bound.

struct Size {
    workgroups: u32,
    rounds: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f16>;
@group(0) @binding(1) var<storage, read> b: array<f16>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> size: Size;

const DEPTH = 64u;
const WIDE = 256u;
const SQUARE = 2u * EDGE;

@compute @workgroup_size(WIDTH)
fn peak_product_forward_fragments_f32(@builtin(subgroup_id) subgroup: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    // No way leads around fragments: a workgroup beyond the last, where a long grid wraps, does the last one's work again, with the same bits.
    let workgroup = min(row_of(group, groups), size.workgroups - 1u);
    let square = workgroup * SUBGROUPS + subgroup;
    let row = square / (WIDE / SQUARE) * SQUARE;
    let column = square % (WIDE / SQUARE) * SQUARE;
    let depth = DEPTH;
    let wide = WIDE;
    var sums = Sums();
    var sums_right = Sums();
    var sums_below = Sums();
    var sums_across = Sums();
    for (var k = 0u; k < DEPTH; k += EDGE) {
        // Addresses have names of their own: inline, naga 30 panics.
        let at_a = row * DEPTH + k;
        let at_b = column * DEPTH + k;
        let at_a2 = at_a + EDGE * DEPTH;
        let at_b2 = at_b + EDGE * DEPTH;
        let upper = coopLoadT<FragmentA>(&a[at_a], depth);
        let lower = coopLoadT<FragmentA>(&a[at_a2], depth);
        // Of b a column of the product lies side by side.
        let left = coopLoad<FragmentB>(&b[at_b], depth);
        let right = coopLoad<FragmentB>(&b[at_b2], depth);
        for (var round = 0u; round < size.rounds; round++) {
            sums = coopMultiplyAdd(upper, left, sums);
            sums_right = coopMultiplyAdd(upper, right, sums_right);
            sums_below = coopMultiplyAdd(lower, left, sums_below);
            sums_across = coopMultiplyAdd(lower, right, sums_across);
        }
    }
    let at = row * WIDE + column;
    let at_right = at + EDGE;
    let at_below = at + EDGE * WIDE;
    let at_across = at_below + EDGE;
    coopStoreT(sums, &y[at], wide);
    coopStoreT(sums_right, &y[at_right], wide);
    coopStoreT(sums_below, &y[at_below], wide);
    coopStoreT(sums_across, &y[at_across], wide);
}
