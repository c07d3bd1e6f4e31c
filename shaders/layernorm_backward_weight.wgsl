// The gradients of layer normalisation's parameters, with xhat = (x - mean) rstd:
//
//   dw = sum over rows of dy xhat        db = sum over rows of dy
//
// Sums of columns. 8 bytes an element, read once: bound by memory.

@group(1) @binding(0) var<uniform> columns: Columns;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<storage, read_write> dw: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;

fn term(row: u32, column: u32) -> vec3f {
    let i = row * columns.width + column;
    return vec3f(dy[i] * ((x[i] - mean[row]) * rstd[row]), dy[i], 0.0);
}

fn put(part: u32, column: u32, sum: vec3f) {
    dw[column] = sum.x;
    db[column] = sum.y;
}

@compute @workgroup_size(WIDTH)
fn layernorm_backward_weight_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    sum_columns(columns, lane, group, groups);
}
