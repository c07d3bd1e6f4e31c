// The k largest of each row, falling, with their indices; among equals the lower index first. NaN comes last, as minus infinity.
//
// A workgroup takes a part of a row, PART elements, of which each invocation holds EACH in registers, and finds in k rounds one after another: in
// each every invocation offers the first of its own that comes behind the last one found. The parts' k are put through the same in a second launch,
// one workgroup a row. Rows of one part need no second launch. x is read once, 4 bytes an element: bound by memory for few k, else by the rounds,
// a reduction each.

struct Size {
    rows: u32,
    width: u32,
    parts: u32,
    k: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<u32>;
// [rows, parts, k]
@group(0) @binding(1) var<storage, read_write> found: array<Entry>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> indices: array<i32>;

const PART = WIDTH * EACH;
const MINUS_INFINITY = 0xff800000u;

fn put(row: u32, round: u32, first: Entry) {
    let at = row * size.k + round;
    var word = MINUS_INFINITY;
    if first.x < LAST {
        word = x[row * size.width + first.y];
    }
    values[at] = word;
    indices[at] = i32(first.y);
}

// One workgroup a part.
@compute @workgroup_size(WIDTH)
fn top_k_parts_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let part = row_of(group, groups);
    if part >= size.rows * size.parts {
        return;
    }
    let row = part / size.parts;
    let begin = part % size.parts * PART + lane;
    var own: array<Entry, EACH>;
    for (var i = 0u; i < EACH; i++) {
        let at = begin + i * WIDTH;
        own[i] = NONE;
        if at < size.width {
            own[i] = Entry(rank(x[row * size.width + at]), at);
        }
    }
    var last = START;
    for (var round = 0u; round < size.k; round++) {
        var first = NONE;
        for (var i = 0u; i < EACH; i++) {
            if is_less(last, own[i]) && is_less(own[i], first) {
                first = own[i];
            }
        }
        last = group_least(first, lane);
        if lane == 0u {
            if size.parts == 1u {
                put(row, round, last);
            } else {
                found[part * size.k + round] = last;
            }
        }
    }
}

// One workgroup a row.
@compute @workgroup_size(WIDTH)
fn top_k_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = row_of(group, groups);
    if row >= size.rows {
        return;
    }
    let count = size.parts * size.k;
    var last = START;
    for (var round = 0u; round < size.k; round++) {
        var first = NONE;
        for (var i = lane; i < count; i += WIDTH) {
            let entry = found[row * count + i];
            if is_less(last, entry) && is_less(entry, first) {
                first = entry;
            }
        }
        last = group_least(first, lane);
        if lane == 0u {
            put(row, round, last);
        }
    }
}
