// Rows of a table by id, with position and token-type rows added: y[.., l] = table[ids[.., l]] + positions[offset + l] + types[0]. An id or a
// position that its table does not have adds nothing.
//
// One invocation an element of y, neighbours along a row of the table: 8 bytes an element, bound by memory; positions and types are read again for
// each sequence, from the cache.

struct Size {
    // Elements that are written.
    n: u32,
    // Elements of a row, and ids of a sequence.
    width: u32,
    columns: u32,
    // Rows of the table, and of that of the positions.
    vocabulary: u32,
    positions: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> ids: array<i32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> positions: array<f32>;
@group(0) @binding(3) var<storage, read> offset: array<i32>;
@group(0) @binding(4) var<storage, read> types: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn embedding_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    let n = i / size.width;
    let d = i % size.width;
    let row = ids[n];
    var v = 0.0;
    // A negative one is a large one.
    if u32(row) < size.vocabulary {
        v = table[u32(row) * size.width + d];
    }
    if POSITION {
        let position = offset[0] + i32(n % size.columns);
        if u32(position) < size.positions {
            v += positions[u32(position) * size.width + d];
        }
    }
    if TYPES {
        v += types[d];
    }
    y[i] = v;
}
