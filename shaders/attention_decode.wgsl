// Attention forward for a few queries, as in decoding: every key and value is read once and is met by few, so that memory bounds it.
//
// A workgroup takes a piece of PIECE = 64 keys of a head, for all query batches that share them, four rows (of queries) at a time: strips of the keys come
// through workgroup memory, neighbours along a row, and an invocation makes one score; the softmax is that of these keys alone; values are read
// where they lie, by four invocations a column that take the keys in turn. Where there is more than one piece, what is written is a part: for
// each row its sums, its maximum and its denominator, which `merge` puts together in the order of the pieces.
//
// Keys and values are read once for four rows. Floor: 8 bytes a key and column of a head.

// y, or the parts: SIZE + 2 numbers for each row and piece.
// With IN_PARTS the parts, which are stored in f32; else y, which is then f32 itself.
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> lse: array<u32>;

// Rows that are taken at once: each has PIECE invocations, a quarter of the workgroup.
const FEW = WIDTH / PIECE;
const_assert PIECE == QUARTER;

var<workgroup> strip: array<vec4f, PIECE * PITCH>;
var<workgroup> asked: array<vec4f, FEW * STRIP>;
// Of each key the four probabilities.
var<workgroup> weights: array<f32, WIDTH>;

fn pieces() -> u32 {
    return (size.keys + PIECE - 1u) / PIECE;
}

// Where the part of a row and a piece starts.
fn part_start(row: u32, piece: u32) -> u32 {
    return (row * pieces() + piece) * (SIZE + 2u);
}

@compute @workgroup_size(WIDTH)
fn attention_decode_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let index = row_of(group, groups);
    let piece = index % pieces();
    let head = index / pieces() % size.heads;
    let key_batch = index / pieces() / size.heads;
    if key_batch >= size.batch / size.group {
        return;
    }
    let rows = size.group * size.queries;
    var most = 0u;
    for (var row = lane; row < rows; row += WIDTH) {
        most = max(most, limit(length(key_batch * size.group + row / size.queries), row % size.queries));
    }
    let first = piece * PIECE;
    let count = min(PIECE, max(group_most(most, lane), first) - first);
    let keys = Rows(1u, key_batch, head, first, count);
    let place = lane % PIECE;
    let few = lane / PIECE;
    for (var block = 0u; block < rows; block += FEW) {
        // The invocation's row; beyond the last it does that one's work and writes nothing.
        let asking = min(block + few, rows - 1u);
        let is_there = block + few < rows;
        let batch = key_batch * size.group + asking / size.queries;
        let query = asking % size.queries;
        let row = query_row(batch, head, query);
        var score = 0.0;
        for (var d = 0u; d < SIZE; d += 4u * STRIP) {
            for (var i = lane; i < PIECE * QUADS; i += WIDTH) {
                strip[i / QUADS * PITCH + i % QUADS] = quad(keys, i / QUADS, d + 4u * (i % QUADS));
            }
            if place < QUADS {
                asked[few * STRIP + place] = quad(Rows(0u, batch, head, query, 1u), 0u, d + 4u * place);
            }
            workgroupBarrier();
            for (var p = 0u; p < QUADS; p++) {
                score += dot(asked[few * STRIP + p], strip[place * PITCH + p]);
            }
            workgroupBarrier();
        }
        var seen = place < count && first + place < limit(length(batch), query);
        if seen {
            seen = !is_masked(batch, first + place);
        }
        let top = quarter_max(select(LOWEST, score * size.scale, seen), lane);
        var p = select(0.0, exp(score * size.scale - top), seen);
        let whole = quarter_sum(p, lane);
        if DROPOUT {
            let factors = drop_factors(row, (first + place) / 4u * 4u);
            p *= factors[place % 4u];
        }
        weights[place * FEW + few] = p;
        workgroupBarrier();
        var scale = 1.0;
        var start = part_start(row, piece);
        if !IN_PARTS {
            scale = select(0.0, 1.0 / whole, whole > 0.0);
            start = row_start(3u, batch, query, head);
        }
        for (var column = 0u; column < SIZE; column += PIECE) {
            var sums = vec4f();
            if column + place < SIZE {
                for (var key = few; key < count; key += FEW) {
                    let at = key * FEW;
                    let value = number(2u, row_start(2u, key_batch, first + key, head) + column + place);
                    sums += value * vec4f(weights[at], weights[at + 1u], weights[at + 2u], weights[at + 3u]);
                }
            }
            strip[lane] = sums;
            workgroupBarrier();
            if is_there && column + place < SIZE {
                var sum = 0.0;
                for (var n = 0u; n < FEW; n++) {
                    sum += strip[n * PIECE + place][few];
                }
                y[start + column + place] = sum * scale;
            }
            workgroupBarrier();
        }
        if is_there && place == 0u {
            if IN_PARTS {
                y[start + SIZE] = top;
                y[start + SIZE + 1u] = whole;
            } else if SAVE {
                lse[row] = select(INFINITY, bitcast<u32>(top + log(whole)), whole > 0.0);
            }
        }
    }
}

@group(0) @binding(0) var<storage, read_write> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> merged: array<Real>;
@group(0) @binding(2) var<storage, read_write> merged_lse: array<u32>;

// An invocation an element of y.
@compute @workgroup_size(WIDTH)
fn attention_decode_merge_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    let d = i % SIZE;
    let head = i / SIZE % size.heads;
    let query = i / SIZE / size.heads % size.queries;
    let batch = i / SIZE / size.heads / size.queries;
    if batch >= size.batch {
        return;
    }
    let row = query_row(batch, head, query);
    var top = LOWEST;
    for (var piece = 0u; piece < pieces(); piece++) {
        top = max(top, parts[part_start(row, piece) + SIZE]);
    }
    var sum = 0.0;
    var whole = 0.0;
    for (var piece = 0u; piece < pieces(); piece++) {
        let start = part_start(row, piece);
        let share = exp(parts[start + SIZE] - top);
        sum += parts[start + d] * share;
        whole += parts[start + SIZE + 1u] * share;
    }
    // 0 where nothing is seen; NaN comes through.
    merged[i] = Real(select(sum / whole, 0.0, whole == 0.0));
    if SAVE && d == 0u {
        merged_lse[row] = select(INFINITY, bitcast<u32>(top + log(whole)), whole > 0.0);
    }
}
