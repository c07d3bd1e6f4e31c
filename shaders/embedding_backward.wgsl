// The gradients of embedding.wgsl's positions and types; that of the table is gather_backward.wgsl's.
//
//   positions   dpositions[offset + l] = sum over the batch of dy[.., l]: one invocation an element, neighbours along a row. dy is read once.
//   types       dtypes[0] = sum of all rows of dy, the others are zero: the sums of `share` rows each into scratch memory, 32 columns a workgroup, then
//               the sum of those. dy is read once.
//
// Bound by memory: 4 bytes an element of dy, and of the table that is written.

struct Size {
    // Rows of the table, and elements of a row.
    rows: u32,
    width: u32,
    // Of dy: rows in all, and of a sequence.
    count: u32,
    columns: u32,
    // Sums in scratch memory, and rows of dy that one takes.
    parts: u32,
    share: u32,
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

@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

// A workgroup takes COLUMNS columns of `share` rows.
@compute @workgroup_size(WIDTH)
fn embedding_backward_type_parts_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let column = group.x * COLUMNS + lane % COLUMNS;
    var part = 0.0;
    if column < size.width {
        let end = min((group.y + 1u) * size.share, size.count);
        for (var row = group.y * size.share + lane / COLUMNS; row < end; row += WIDTH / COLUMNS) {
            part += dy[row * size.width + column];
        }
    }
    let sum = column_sum(part, lane);
    if lane < COLUMNS && column < size.width {
        sums[group.y * size.width + column] = sum;
    }
}

// The first row is the sum, the others are zero.
@compute @workgroup_size(WIDTH)
fn embedding_backward_type_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let column = group.x * COLUMNS + lane % COLUMNS;
    var part = 0.0;
    if column < size.width {
        for (var row = lane / COLUMNS; row < size.parts; row += WIDTH / COLUMNS) {
            part += sums[row * size.width + column];
        }
    }
    let sum = column_sum(part, lane);
    if lane < COLUMNS && column < size.width {
        dtable[column] = sum;
        for (var row = 1u; row < size.rows; row++) {
            dtable[row * size.width + column] = 0.0;
        }
    }
}
