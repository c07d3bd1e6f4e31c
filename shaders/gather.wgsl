// Rows by index: y[n] = x[indices[n]], zeros for an index that x does not have; and rows of state exchanged in place. Both move words as they are.
//
//   forward    one invocation an element of y, neighbours along a row: 8 bytes an element.
//   reorder    state[b] = old state[indices[b]]: a workgroup takes some columns of all rows, B x SPAN elements, into workgroup memory and puts them back in
//              their new order: 8 bytes an element, in one launch.

struct Size {
    // Elements that are written, and of a row.
    n: u32,
    width: u32,
    // Rows of x.
    rows: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<Word>;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(WIDTH)
fn gather_forward_u32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    let row = indices[i / size.width];
    // The word of 0.0 is 0.
    var word = Word();
    // A negative index is a large one.
    if u32(row) < size.rows {
        word = x[u32(row) * size.width + i % size.width];
    }
    y[i] = word;
}

struct Exchange {
    rows: u32,
    // Elements of a row, and of what one unit of the length stands for.
    width: u32,
    unit: u32,
    // Columns of a workgroup.
    span: u32,
}

@group(1) @binding(0) var<uniform> exchange: Exchange;
@group(0) @binding(0) var<storage, read_write> state: array<Word>;
@group(0) @binding(2) var<storage, read> length: array<i32>;

// HELD words, below a workgroup's 16 KiB.
var<workgroup> held: array<Word, HELD>;

@compute @workgroup_size(WIDTH)
fn gather_reorder_u32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let start = (row_of(group, groups)) * exchange.span;
    var moved = exchange.width;
    if LENGTH {
        // Within the row before it is multiplied.
        moved = min(u32(max(length[0], 0)), exchange.width / exchange.unit) * exchange.unit;
    }
    let span = min(moved - min(start, moved), exchange.span);
    for (var i = lane; i < exchange.rows * span; i += WIDTH) {
        let row = i / span;
        let index = indices[row];
        let here = u32(index) >= exchange.rows;
        held[i] = state[select(u32(index), row, here) * exchange.width + start + i % span];
    }
    workgroupBarrier();
    for (var i = lane; i < exchange.rows * span; i += WIDTH) {
        state[i / span * exchange.width + start + i % span] = held[i];
    }
}
