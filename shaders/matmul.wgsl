// Batched matrix product: C[i] = A[i] B[i], each factor read transposed where TRANSPOSE_A or TRANSPOSE_B say so. See common/gemm.wgsl.

struct Size {
    m: u32,
    n: u32,
    k: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

const A_ALONG_K = !TRANSPOSE_A;
const B_ALONG_K = TRANSPOSE_B;

fn a_at(batch: u32, row: u32, k: u32) -> f32 {
    if TRANSPOSE_A {
        return a[(batch * size.k + k) * size.m + row];
    }
    return a[(batch * size.m + row) * size.k + k];
}

fn b_at(batch: u32, k: u32, column: u32) -> f32 {
    if TRANSPOSE_B {
        return b[(batch * size.n + column) * size.k + k];
    }
    return b[(batch * size.k + k) * size.n + column];
}

fn put(batch: u32, row: u32, column: u32, sum: f32) {
    c[(batch * size.m + row) * size.n + column] = sum;
}

@compute @workgroup_size(WIDTH)
fn matmul_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) tile: vec3u) {
    gemm(lane, tile, size.m, size.n, size.k);
}
