// Linear layer with its activation: y = act(x W^T + b), x [M, K], W [N, K], b [N], y [M, N]. Products as in common/gemm.wgsl; bias and activation
// happen to the sums while they are in registers, so that y is written once and never read.
//
//   PASS 0, forward           A = x    [M, K], B = W^T [K, N]
//   PASS 1, backward_input    A = dy   [M, N], B = W   [N, K]      dx = dy W
//   PASS 2, backward_weight   A = dy^T [N, M], B = x   [M, K]      dW = dy^T x
//
// The bias' gradient is a sum of columns: reduce_leading.wgsl.

struct Size {
    // Of the product: rows and columns of what is written, and the extent that is summed over.
    m: u32,
    n: u32,
    k: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
// x, or dy.
@group(0) @binding(0) var<storage, read> left: array<f32>;
// W, or x.
@group(0) @binding(1) var<storage, read> right: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
// x W^T + b, for GELU's gradient.
@group(0) @binding(4) var<storage, read_write> before: array<f32>;

const A_ALONG_K = PASS != 2;
const B_ALONG_K = PASS == 0;
const SQRT_HALF = 0.70710678;

fn a_at(batch: u32, row: u32, k: u32) -> f32 {
    if PASS == 2 {
        return left[k * size.m + row];
    }
    return left[row * size.k + k];
}

fn b_at(batch: u32, k: u32, column: u32) -> f32 {
    if PASS == 0 {
        return right[column * size.k + k];
    }
    return right[k * size.n + column];
}

fn put(batch: u32, row: u32, column: u32, sum: f32) {
    let i = row * size.n + column;
    var v = sum;
    if BIAS {
        v += bias[column];
    }
    if SAVE {
        before[i] = v;
    }
    if ACTIVATION == 1 {
        v = select(v, 0.0, v < 0.0);
    } else if ACTIVATION == 2 {
        v = 0.5 * v * (1.0 + erf(v * SQRT_HALF));
    }
    y[i] = v;
}

@compute @workgroup_size(WIDTH)
fn linear_product_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) tile: vec3u) {
    gemm(lane, tile, size.m, size.n, size.k);
}
