// Appends to a cache: cache[b, position + l] = new[b, l]; rows that would fall outside are dropped.
//
// One invocation an element of what is new, neighbours beside neighbours, in one launch for all of the batch; the position is read on the device.
// 8 bytes an element: bound by memory, and at a token a step by the launch itself.

struct Size {
    // Elements that are new, of one sequence, and of one row.
    n: u32,
    sequence: u32,
    width: u32,
    // Rows of the cache.
    rows: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read_write> cache: array<Word>;
@group(0) @binding(1) var<storage, read> added: array<Word>;
@group(0) @binding(2) var<storage, read> position: array<i32>;

@compute @workgroup_size(WIDTH)
fn kv_cache_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    let within = i % size.sequence;
    // A negative row, and so one that has wrapped, is a large one.
    let row = position[0] + i32(within / size.width);
    if u32(row) < size.rows {
        cache[(i / size.sequence * size.rows + u32(row)) * size.width + within % size.width] = added[i];
    }
}
