// What the kernels of attention share: where rows lie, which keys a query sees, dropout, and products of tiles. common/philox.wgsl stands before it.
//
// `const` lines: SIZE, the width of a head; FUSED, q, k and v lie side by side in one buffer; CAUSAL, MASK, LENGTHS, DROPOUT; and of the tiles
// PART and CHUNK, see below. The shaders bind q, k, v and mask as 0 to 3 and say where the rest is:
//
//   fn number(part: u32, at: u32) -> f32       an element of q, k, v or dy, which are the parts 0 to 3
//   fn told_length(batch: u32) -> u32          how many keys exist for a query batch; called with LENGTHS only
//   fn random() -> vec4u                       what dropout reads from the device; called with DROPOUT only

struct Size {
    // Of the queries; `group` batches of them share one of the keys.
    batch: u32,
    // Query batches of the whole execution before these, where they are a piece of it: mask, lengths and dropout count from its first.
    first: u32,
    group: u32,
    heads: u32,
    queries: u32,
    keys: u32,
    // Query batches to a row of the mask, and to a length.
    mask_share: u32,
    length_share: u32,
    scale: f32,
    // Dropout: words below it are dropped, what stays is multiplied by `factor`.
    threshold: u32,
    factor: f32,
    key_low: u32,
    key_high: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> q: array<Real>;
@group(0) @binding(1) var<storage, read> k: array<Real>;
@group(0) @binding(2) var<storage, read> v: array<Real>;
@group(0) @binding(3) var<storage, read> mask: array<i32>;

// An element of q, k or v.
fn source(part: u32, at: u32) -> f32 {
    switch part {
        case 0u: {
            return f32(q[at]);
        }
        case 1u: {
            return f32(k[at]);
        }
        default: {
            return f32(v[at]);
        }
    }
}

const INFINITY = 0x7f800000u;

// Where a row of a head starts in the buffer of its part, and in that of the part's gradient.
fn row_start(part: u32, batch: u32, row: u32, head: u32) -> u32 {
    let width = size.heads * SIZE;
    let rows = select(size.queries, size.keys, part == 1u || part == 2u);
    if FUSED && part < 3u {
        return (batch * rows + row) * 3u * width + part * width + head * SIZE;
    }
    return (batch * rows + row) * width + head * SIZE;
}

// The number of a query among those of all batches and heads.
fn query_row(batch: u32, head: u32, query: u32) -> u32 {
    return (batch * size.heads + head) * size.queries + query;
}

fn length(batch: u32) -> u32 {
    if LENGTHS {
        return min(told_length(batch), size.keys);
    }
    return size.keys;
}

// Where only so many keys exist, a query sees the first so many of them, the mask left aside.
fn limit(keys: u32, query: u32) -> u32 {
    if CAUSAL {
        let end = query + 1u + keys;
        return min(keys, max(end, size.queries) - size.queries);
    }
    return keys;
}

fn is_masked(batch: u32, key: u32) -> bool {
    if MASK {
        return mask[(size.first + batch) / size.mask_share * size.keys + key] == 0;
    }
    return false;
}

// What dropout multiplies the scores of four keys by: a group of Philox, `first` being a multiple of 4. The number of the group has 64 bits.
fn drop_factors(row: u32, first: u32) -> vec4f {
    let groups = (size.keys + 3u) / 4u;
    let number = query_row(size.first, 0u, 0u) + row;
    let low = number * groups;
    let group = low + first / 4u;
    let high = upper(vec2u(number), vec2u(groups)).x + select(0u, 1u, group < low);
    let told = random();
    let words = philox(vec4u(group, high, told.zw), told.xy ^ vec2u(size.key_low, size.key_high));
    return select(vec4f(), vec4f(size.factor), words >= vec4u(size.threshold));
}

// Tiles. A workgroup has LANES = 64 invocations in 8 rows of 8 and owns SIDE = 32 rows, those of queries or those of keys; it meets the others, on
// the other side, 32 at a time. An invocation holds the scores of rows 4 r .. 4 r + 3 with columns 4 c .. 4 c + 3 in registers, and of the sums over
// all others those of the same rows, columns 4 c + 32 s .. 4 c + 32 s + 3 of PART. Both factors of a product pass through workgroup memory, 4.5 KiB
// each, as vectors of four along the extent that is summed over: of 12 to 16 loads of a vector there are 64 to 128 multiply-adds. Rows
// are a vector longer than they need be, so that neighbours do not meet in a bank.

const LANES = 64u;
const SIDE = 32u;
// Vectors of a row that are in workgroup memory at once, and how far rows are apart.
const STRIP = 8u;
const PITCH = STRIP + 1u;
const QUADS = min(STRIP, (SIZE + 3u) / 4u);
// Heads wider than PART = 128 columns are summed by several workgroups, which compute the scores anew.
const PARTS = (SIZE + PART - 1u) / PART;
// Vectors of a row's sums in one invocation. CHUNK rows of PART numbers fit into workgroup memory.
const SPANS = PART / 32u;

var<workgroup> left: array<vec4f, SIDE * PITCH>;
var<workgroup> right: array<vec4f, SIDE * PITCH>;

// Rows first .. first + count of a head.
struct Rows {
    part: u32,
    batch: u32,
    head: u32,
    first: u32,
    count: u32,
}

// Four numbers of a row from column d on; zeros beyond the row and where there is no such row.
fn quad(rows: Rows, row: u32, d: u32) -> vec4f {
    var found = vec4f();
    if row < rows.count && d < SIZE {
        let at = row_start(rows.part, rows.batch, rows.first + row, rows.head) + d;
        if SIZE % 4u == 0u {
            found = vec4f(number(rows.part, at), number(rows.part, at + 1u), number(rows.part, at + 2u), number(rows.part, at + 3u));
        } else {
            for (var i = 0u; i < min(4u, SIZE - d); i++) {
                found[i] = number(rows.part, at + i);
            }
        }
    }
    return found;
}

// The products of own rows with the others: 4 rows of 4 columns.
fn products(lane: u32, own: Rows, others: Rows) -> array<vec4f, 4> {
    let r = lane / 8u;
    let c = lane % 8u;
    var sums: array<vec4f, 4>;
    for (var d = 0u; d < SIZE; d += 4u * STRIP) {
        for (var i = lane; i < SIDE * QUADS; i += LANES) {
            let row = i / QUADS;
            let at = i % QUADS;
            left[row * PITCH + at] = quad(own, row, d + 4u * at);
            // Row 4 c + j lies in place 8 j + c: an invocation and its neighbours read neighbours.
            right[(row % 4u * 8u + row / 4u) * PITCH + at] = quad(others, row, d + 4u * at);
        }
        workgroupBarrier();
        for (var p = 0u; p < QUADS; p++) {
            let b0 = right[c * PITCH + p];
            let b1 = right[(8u + c) * PITCH + p];
            let b2 = right[(16u + c) * PITCH + p];
            let b3 = right[(24u + c) * PITCH + p];
            for (var i = 0u; i < 4u; i++) {
                let a = left[(4u * r + i) * PITCH + p];
                sums[i] += vec4f(dot(a, b0), dot(a, b1), dot(a, b2), dot(a, b3));
            }
        }
        workgroupBarrier();
    }
    return sums;
}

// The sums of an invocation: SPANS vectors of each of four rows.
alias Sums = array<vec4f, 4u * SPANS>;

// Adds to the sums the others, each times its factor. An invocation hands over the factors of its 4 rows and columns; they meet in `left`. Columns of
// the others are counted from `column` on.
fn mix(lane: u32, factors: array<vec4f, 4>, others: Rows, column: u32, sums: ptr<function, Sums>) {
    let r = lane / 8u;
    let c = lane % 8u;
    for (var i = 0u; i < 4u; i++) {
        left[(4u * r + i) * PITCH + c] = factors[i];
    }
    for (var first = 0u; first < SIDE; first += CHUNK) {
        for (var i = lane; i < CHUNK * PART / 4u; i += LANES) {
            right[i] = quad(others, first + i / (PART / 4u), column + 4u * (i % (PART / 4u)));
        }
        workgroupBarrier();
        for (var p = 0u; p < CHUNK / 4u; p++) {
            for (var s = 0u; s < SPANS; s++) {
                let at = 4u * p * (PART / 4u) + 8u * s + c;
                let b0 = right[at];
                let b1 = right[at + PART / 4u];
                let b2 = right[at + 2u * (PART / 4u)];
                let b3 = right[at + 3u * (PART / 4u)];
                for (var i = 0u; i < 4u; i++) {
                    let a = left[(4u * r + i) * PITCH + first / 4u + p];
                    (*sums)[i * SPANS + s] += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
                }
            }
        }
        workgroupBarrier();
    }
}

// What a workgroup of the tiled kernels does: a tile of rows of a head, and a part of the columns.
struct Task {
    batch: u32,
    head: u32,
    first: u32,
    column: u32,
}

// Neighbours share a head. `rows` of each batch are cut into tiles.
fn task(group: vec3u, groups: vec3u, rows: u32) -> Task {
    let tiles = (rows + SIDE - 1u) / SIDE;
    let index = row_of(group, groups);
    let head = index / tiles / PARTS;
    return Task(head / size.heads, head % size.heads, index % tiles * SIDE, index / tiles % PARTS * PART);
}

var<workgroup> farthest: atomic<u32>;
var<workgroup> agreed: u32;

// The same number for the whole workgroup: the largest that an invocation has. All invocations must come here.
fn group_most(own: u32, lane: u32) -> u32 {
    if lane == 0u {
        atomicStore(&farthest, 0u);
    }
    workgroupBarrier();
    atomicMax(&farthest, own);
    workgroupBarrier();
    if lane == 0u {
        agreed = atomicLoad(&farthest);
    }
    let most = workgroupUniformLoad(&agreed);
    return most;
}

// How many keys the queries up to `last` of a batch have to look at: up to the last that one of them sees.
fn visible(lane: u32, batch: u32, last: u32) -> u32 {
    let most = limit(length(batch), last);
    var seen = most;
    if MASK {
        seen = 0u;
        for (var key = lane; key < most; key += LANES) {
            seen = select(key + 1u, seen, is_masked(batch, key));
        }
    }
    return group_most(seen, lane);
}

// Which of the keys first .. first + 4 a query batch may see, where `count` exist.
fn open_keys(batch: u32, first: u32, count: u32) -> vec4<bool> {
    var open = vec4<bool>();
    for (var i = 0u; i < 4u; i++) {
        open[i] = first + i < count && !is_masked(batch, first + i);
    }
    return open;
}
