// The gradient of embedding.wgsl's types: dtypes[0] = sum of all rows of dy, the others are zero. Sums of columns (common/column_sums.wgsl), 4 bytes an
// element of dy, which is read once: bound by memory.

struct Size {
    columns: Columns,
    // Of the table.
    rows: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dtable: array<f32>;

fn term(row: u32, column: u32) -> vec3f {
    return vec3f(dy[row * size.columns.width + column], 0.0, 0.0);
}

fn put(part: u32, column: u32, sum: vec3f) {
    dtable[column] = sum.x;
    for (var row = 1u; row < size.rows; row++) {
        dtable[row * size.columns.width + column] = 0.0;
    }
}

@compute @workgroup_size(WIDTH)
fn embedding_backward_type_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    sum_columns(size.columns, lane, group, groups);
}
