// The index of the largest element of each row; among equals the lowest.
//
// A workgroup takes a part of a row, SHARE elements, element by element beside each other, and the parts' firsts are compared in a second launch:
// a few rows as long as a vocabulary then still occupy a GPU. Rows of one part need no second launch. 4 bytes an element: bound by memory.

struct Size {
    rows: u32,
    width: u32,
    parts: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> firsts: array<Entry>;
@group(0) @binding(2) var<storage, read_write> y: array<i32>;

// One workgroup a part.
@compute @workgroup_size(WIDTH)
fn argmax_parts_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let part = row_of(group, groups);
    if part >= size.rows * size.parts {
        return;
    }
    let start = part / size.parts * size.width;
    let begin = part % size.parts * SHARE;
    var first = NONE;
    for (var i = begin + lane; i < min(begin + SHARE, size.width); i += WIDTH) {
        let entry = Entry(rank(x[start + i]), i);
        if is_less(entry, first) {
            first = entry;
        }
    }
    first = group_least(first, lane);
    if lane == 0u {
        if size.parts == 1u {
            y[part] = i32(first.y);
        } else {
            firsts[part] = first;
        }
    }
}

// One workgroup a row.
@compute @workgroup_size(WIDTH)
fn argmax_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = row_of(group, groups);
    if row >= size.rows {
        return;
    }
    var first = NONE;
    for (var i = lane; i < size.parts; i += WIDTH) {
        let entry = firsts[row * size.parts + i];
        if is_less(entry, first) {
            first = entry;
        }
    }
    first = group_least(first, lane);
    if lane == 0u {
        y[row] = i32(first.y);
    }
}
