// Reorders dimensions: y is x with dimension i the one of x that was asked for.
//
// The host drops extents of 1 and joins what stays side by side. Elements are moved as the words they are; each is read once and written once,
// 8 bytes an element, bound by memory as long as both go by whole cache lines:
//
//   rows    the last dimension stays the last: one invocation an element, which runs along it in x and in y alike.
//   tiles   it does not: `a`, the last of x, and `b`, the last of y, are turned in workgroup memory, TILE_A x TILE_B = 1024 elements a workgroup.
//           Reading, neighbours run along a, where x lies side by side; writing, along b, where y does. The host makes the tile as slim as the
//           smaller of the two asks for: the three channels of an image are 4 x 256, not 32 x 32 with 29 empty columns. Rows of the tile are
//           padded so that neither direction meets in one bank.

struct Size {
    // The other dimensions, of y, the last first: extent, elements from one to the next in x, and in y.
    others: array<vec4u, RANK>,
    // Elements, or tiles, in all; of a and b the extents, and tiles along them.
    n: u32,
    a: u32,
    b: u32,
    tiles_a: u32,
    tiles_b: u32,
    // Elements from one index of b to the next in x, and of a in y.
    b_in_x: u32,
    a_in_y: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<Word>;
@group(0) @binding(1) var<storage, read_write> y: array<Word>;

// Where in x and in y the index with this number among the other dimensions lies.
fn place(number: u32) -> vec2u {
    var rest = number;
    var at = vec2u(0u);
    for (var d = 0u; d < RANK; d++) {
        let other = size.others[d];
        at += rest % other.x * other.yz;
        rest /= other.x;
    }
    return at;
}

@compute @workgroup_size(WIDTH)
fn transpose_rows_u32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    y[i] = x[place(i / size.a).x + i % size.a];
}

const PITCH = TILE_A + max(1u, 32u / TILE_B);

var<workgroup> tile: array<Word, TILE_B * PITCH>;

@compute @workgroup_size(WIDTH)
fn transpose_tiles_u32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let number = row_of(group, groups);
    if number >= size.n {
        return;
    }
    let a = number % size.tiles_a * TILE_A;
    let b = number / size.tiles_a % size.tiles_b * TILE_B;
    let at = place(number / (size.tiles_a * size.tiles_b));
    for (var i = lane; i < TILE_A * TILE_B; i += WIDTH) {
        let p = i % TILE_A;
        let q = i / TILE_A;
        if a + p < size.a && b + q < size.b {
            tile[q * PITCH + p] = x[at.x + (b + q) * size.b_in_x + a + p];
        }
    }
    workgroupBarrier();
    for (var i = lane; i < TILE_A * TILE_B; i += WIDTH) {
        let p = i / TILE_B;
        let q = i % TILE_B;
        if a + p < size.a && b + q < size.b {
            y[at.y + (a + p) * size.a_in_y + b + q] = tile[q * PITCH + p];
        }
    }
}
