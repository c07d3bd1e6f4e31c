// Sum or mean over the first dimensions: y[i] = s sum over o of x[o, i], as sums of columns; also what other operators need of them. 4 bytes an
// element, read once: bound by memory. Result is what y is stored as: Real, or f32.

struct Size {
    columns: Columns,
    factor: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(1) var<storage, read> x: array<Real>;
@group(0) @binding(2) var<storage, read_write> y: array<Result>;

fn term(row: u32, column: u32) -> vec3f {
    return vec3f(f32(x[row * size.columns.width + column]), 0.0, 0.0);
}

fn put(part: u32, column: u32, sum: vec3f) {
    y[part * size.columns.width + column] = Result(sum.x * size.factor);
}

@compute @workgroup_size(WIDTH)
fn reduce_leading_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    sum_columns(size.columns, lane, group, groups);
}
