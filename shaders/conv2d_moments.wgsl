// Moments of y's columns, of each part of its rows, left as the first of two launches that sum columns leaves them: whoever wants statistics of y joins them.
// 4 bytes an element (2 in half precision), read once: bound by memory.

struct Size {
    columns: Columns,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(1) var<storage, read_write> y: array<Real>;

fn term(row: u32, column: u32) -> vec3f {
    return vec3f(1.0, f32(y[row * size.columns.width + column]), 0.0);
}

// There is no second launch.
fn put(part: u32, column: u32, sum: vec3f) {}

@compute @workgroup_size(WIDTH)
fn conv2d_moments_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    sum_columns(size.columns, lane, group, groups);
}
