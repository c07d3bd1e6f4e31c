// Batched matrix product: C[i] = A[i] B[i], each factor read transposed where TRANSPOSE_A or TRANSPOSE_B say so. See common/gemm.wgsl.

struct Size {
    m: u32,
    n: u32,
    k: u32,
    depth: u32,
    batch: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
// `left` is A, `right` is B.
@group(0) @binding(3) var<storage, read_write> c: array<Real>;

alias Place = u32;

const A_ALONG_K = !TRANSPOSE_A;
const B_ALONG_K = TRANSPOSE_B;
const A_PADDED = false;
const B_PADDED = false;

fn extents(batch: u32) -> vec3u {
    return vec3u(size.m, size.n, size.k);
}

fn a_row(batch: u32, row: u32) -> Place {
    return batch * size.m * size.k + row * select(size.k, 1u, TRANSPOSE_A);
}

fn a_k(batch: u32, k: u32) -> Place {
    return k * select(1u, size.m, TRANSPOSE_A);
}

fn b_column(batch: u32, column: u32) -> Place {
    return batch * size.n * size.k + column * select(1u, size.k, TRANSPOSE_B);
}

fn b_k(batch: u32, k: u32) -> Place {
    return k * select(size.n, 1u, TRANSPOSE_B);
}

fn a_index(row: Place, k: Place) -> u32 {
    return row + k;
}

fn b_index(column: Place, k: Place) -> u32 {
    return column + k;
}

fn c_row(batch: u32, row: u32) -> u32 {
    return (batch * size.m + row) * size.n;
}

fn put(i: u32, column: u32, sum: f32) {
    c[i] = Real(sum);
}

@compute @workgroup_size(WIDTH)
fn matmul_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    gemm(lane, group, groups);
}

@compute @workgroup_size(WIDTH)
fn matmul_forward_rows_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    gemv(lane, group, groups);
}

@compute @workgroup_size(WIDTH)
fn matmul_forward_sum_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    gemm_sum(flat(id, groups, WIDTH));
}
