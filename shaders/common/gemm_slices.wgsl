// Tiles of common/gemm.wgsl that are too small for all invocations of a workgroup: DOWN x ACROSS of them are a slice, the slices take turns along K, and their
// sums are added up at the end, through the walk's `strip_b: array<vec4f, at least WIDTH>`.

const SLICE = DOWN * ACROSS;
const SLICES = WIDTH / SLICE;

// The sum over the slices. All invocations must come here.
fn over_slices(lane: u32, sum: vec4f) -> vec4f {
    if SLICES == 1u {
        return sum;
    }
    workgroupBarrier();
    strip_b[lane] = sum;
    workgroupBarrier();
    var whole = strip_b[lane % SLICE];
    for (var slice = 1u; slice < SLICES; slice++) {
        whole += strip_b[slice * SLICE + lane % SLICE];
    }
    return whole;
}
