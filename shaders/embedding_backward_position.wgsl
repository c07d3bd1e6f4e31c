// The gradient of embedding.wgsl's positions: dpositions[offset + l] = sum over the batch of dy[.., l]. That of the table is gather_backward.wgsl's, that
// of the types embedding_backward_type.wgsl's.
//
// One invocation an element, neighbours along a row. Bound by memory: 4 bytes an element of dy, which is read once, and of the table that is written.

struct Size {
    // Rows of the table, and elements of a row.
    rows: u32,
    width: u32,
    // Of dy: rows in all, and of a sequence.
    count: u32,
    columns: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> first: array<i32>;
@group(0) @binding(2) var<storage, read_write> dtable: array<f32>;

@compute @workgroup_size(WIDTH)
fn embedding_backward_position_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.rows * size.width {
        return;
    }
    let column = i32(i / size.width) - first[0];
    var sum = 0.0;
    // A negative one is a large one.
    if u32(column) < size.columns {
        for (var n = u32(column); n < size.count; n += size.columns) {
            sum += dy[n * size.width + i % size.width];
        }
    }
    dtable[i] = sum;
}
