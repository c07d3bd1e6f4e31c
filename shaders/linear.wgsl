// Linear layer with its activation: y = act(x W^T + b + residual), x [M, K], W [N, K], b [N], y and residual [M, N]. Products as in common/gemm.wgsl; all that
// follows happens to the sums while they are in registers, so that y is written once and never read. Result is what it is stored as: Real, or f32.
//
//   PASS 0, forward           A = x    [M, K], B = W^T [K, N]
//   PASS 1, backward_input    A = dy   [M, N], B = W   [N, K]      dx = dy W, times act'(saved) where that is GIVEN, [M, K]
//   PASS 2, backward_weight   A = dy^T [N, M], B = x   [M, K]      dW = dy^T x
//
// The bias' gradient is a sum of columns: reduce_leading.wgsl.

struct Size {
    // Of the product: rows and columns of what is written, and the extent that is summed over.
    m: u32,
    n: u32,
    k: u32,
    depth: u32,
    batch: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
// `left` is x, or dy; `right` is W, or x.
@group(0) @binding(3) var<storage, read_write> y: array<Result>;
// The bias, or what is saved for the activation's derivative.
@group(0) @binding(4) var<storage, read> given: array<Real>;
// x W^T + b, for GELU's gradient.
@group(0) @binding(5) var<storage, read_write> before: array<Real>;
@group(0) @binding(6) var<storage, read> residual: array<Result>;

alias Place = u32;

const A_ALONG_K = PASS != 2;
const B_ALONG_K = PASS == 0;
const A_PADDED = false;
const B_PADDED = false;

fn extents(batch: u32) -> vec3u {
    return vec3u(size.m, size.n, size.k);
}

fn a_row(batch: u32, row: u32) -> Place {
    return row * select(1u, size.k, A_ALONG_K);
}

fn a_k(batch: u32, k: u32) -> Place {
    return k * select(size.m, 1u, A_ALONG_K);
}

fn b_column(batch: u32, column: u32) -> Place {
    return column * select(1u, size.k, B_ALONG_K);
}

fn b_k(batch: u32, k: u32) -> Place {
    return k * select(size.n, 1u, B_ALONG_K);
}

fn a_index(row: Place, k: Place) -> u32 {
    return row + k;
}

fn b_index(column: Place, k: Place) -> u32 {
    return column + k;
}

fn c_row(batch: u32, row: u32) -> u32 {
    return row * size.n;
}

fn put(i: u32, column: u32, sum: f32) {
    if PASS == 0 {
        y[i] = Result(finished(i, column, sum));
    } else if PASS == 1 && GIVEN {
        y[i] = Result(sum * derivative(f32(given[i])));
    } else {
        y[i] = Result(sum);
    }
}

fn finished(i: u32, column: u32, sum: f32) -> f32 {
    var v = sum;
    if GIVEN {
        v += f32(given[column]);
    }
    if RESIDUAL {
        v += f32(residual[i]);
    }
    if SAVE {
        before[i] = Real(v);
    }
    if ACTIVATION == 1 {
        return relu(v);
    }
    if ACTIVATION == 2 {
        return gelu(v);
    }
    return v;
}

// Of ReLU from what it gave, of GELU from what it was given.
fn derivative(saved: f32) -> f32 {
    if ACTIVATION == 1 {
        return select(0.0, 1.0, saved > 0.0);
    }
    return gelu_derivative(saved);
}

@compute @workgroup_size(WIDTH)
fn linear_product_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    gemm(lane, group, groups);
}

@compute @workgroup_size(WIDTH)
fn linear_product_rows_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    gemv(lane, group, groups);
}

@compute @workgroup_size(WIDTH)
fn linear_product_sum_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    gemm_sum(flat(id, groups, WIDTH));
}
