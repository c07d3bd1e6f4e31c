// Attention backward, from dy, y and the logarithm of each row's sum, lse:
//
//   P = e^(scale Q K^T - lse)      delta = sum over D of dy y        (P is multiplied by dropout's F before it meets V)
//   dV = (P F)^T dy                dS = scale P ((dy V^T) F - delta)
//   dQ = dS K                      dK = dS^T Q
//
// Three kernels, without a score in memory and without atomics on numbers: `notes` writes delta and lse beside each other, with what the others want
// from the device, since they have no bindings to spare; `query` owns 32 queries and walks along the keys for dQ; `key` owns 32 keys and walks
// along the queries for dK and dV, in their order. Tiles as in common/attention.wgsl.
//
// 14 Lq Lk D FLOPs a head, 4 of them to have the scores and dy V^T twice. Expected bound: workgroup memory.

@group(0) @binding(4) var<storage, read> dy: array<Real>;
// The words of dropout, each query batch's length, and delta and lse of each row of each head.
@group(0) @binding(5) var<storage, read_write> notes: array<u32>;
@group(0) @binding(6) var<storage, read_write> d_first: array<Real>;
@group(0) @binding(7) var<storage, read_write> d_second: array<Real>;

fn number(part: u32, at: u32) -> f32 {
    if part == 3u {
        return f32(dy[at]);
    }
    return source(part, at);
}

fn random() -> vec4u {
    return vec4u(notes[0], notes[1], notes[2], notes[3]);
}

fn told_length(batch: u32) -> u32 {
    return notes[4u + batch];
}

fn delta_at(row: u32) -> u32 {
    return 4u + size.batch + 2u * row;
}

@group(0) @binding(0) var<storage, read> of_dy: array<Real>;
@group(0) @binding(1) var<storage, read> of_y: array<Real>;
@group(0) @binding(2) var<storage, read> lse: array<u32>;
@group(0) @binding(3) var<storage, read> lengths: array<i32>;
@group(0) @binding(4) var<storage, read> rng: array<u32>;

// Eight invocations a row of a head, which are neighbours in dy and y.
@compute @workgroup_size(WIDTH)
fn attention_backward_notes_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let index = row_of(group, groups);
    let row = index * (WIDTH / 8u) + lane / 8u;
    let there = row < size.batch * size.queries * size.heads;
    var part = 0.0;
    if there {
        for (var d = lane % 8u; d < SIZE; d += 8u) {
            part += f32(of_dy[row * SIZE + d]) * f32(of_y[row * SIZE + d]);
        }
    }
    lanes[lane] = part;
    workgroupBarrier();
    if there && lane % 8u == 0u {
        var sum = 0.0;
        for (var i = 0u; i < 8u; i++) {
            sum += lanes[lane + i];
        }
        let head = row % size.heads;
        let query = row / size.heads % size.queries;
        let numbered = query_row(row / size.heads / size.queries, head, query);
        let at = delta_at(numbered);
        notes[at] = bitcast<u32>(sum);
        notes[at + 1u] = lse[numbered];
    }
    if DROPOUT && index == 0u && lane < 4u {
        notes[lane] = rng[lane];
    }
    if LENGTHS && index == 0u {
        for (var batch = lane; batch < size.batch; batch += WIDTH) {
            notes[4u + batch] = u32(max(lengths[(size.first + batch) / size.length_share], 0));
        }
    }
}

// Writes an invocation's sums of rows of a part's gradient.
fn put(lane: u32, rows: Rows, column: u32, sums: ptr<function, Sums>) {
    for (var i = 0u; i < 4u; i++) {
        let row = lane / 8u * 4u + i;
        if row >= rows.count {
            continue;
        }
        let start = row_start(rows.part, rows.batch, rows.first + row, rows.head);
        for (var s = 0u; s < SPANS; s++) {
            for (var n = 0u; n < 4u; n++) {
                let d = column + 32u * s + lane % 8u * 4u + n;
                if d < SIZE {
                    if SECOND && rows.part == 2u {
                        d_second[start + d] = Real((*sums)[i * SPANS + s][n]);
                    } else {
                        d_first[start + d] = Real((*sums)[i * SPANS + s][n]);
                    }
                }
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn attention_backward_query_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let own = task(group, groups, size.queries);
    if own.batch >= size.batch {
        return;
    }
    let r = lane / 8u;
    let c = lane % 8u;
    let count = min(SIDE, size.queries - own.first);
    let queries = Rows(0u, own.batch, own.head, own.first, count);
    let dys = Rows(3u, own.batch, own.head, own.first, count);
    let exist = length(own.batch);
    let keys = visible(lane, own.batch, own.first + count - 1u);
    var sums: Sums;
    for (var first = 0u; first < keys; first += SIDE) {
        let others = Rows(1u, own.batch / size.group, own.head, first, min(SIDE, keys - first));
        let p = products(lane, queries, others);
        var ds = products(lane, dys, Rows(2u, others.batch, own.head, first, others.count));
        let open = open_keys(own.batch, first + 4u * c, keys);
        for (var i = 0u; i < 4u; i++) {
            let query = own.first + 4u * r + i;
            let seen = open & (vec4u(0u, 1u, 2u, 3u) + first + 4u * c < vec4u(limit(exist, query)));
            let row = query_row(own.batch, own.head, min(query, size.queries - 1u));
            let delta = bitcast<f32>(notes[delta_at(row)]);
            let whole = bitcast<f32>(notes[delta_at(row) + 1u]);
            if DROPOUT {
                ds[i] *= drop_factors(row, first + 4u * c);
            }
            ds[i] = select(vec4f(), exp(p[i] * size.scale - whole) * (ds[i] - delta) * size.scale, seen);
        }
        mix(lane, ds, others, own.column, &sums);
    }
    put(lane, queries, own.column, &sums);
}

@compute @workgroup_size(LANES)
fn attention_backward_key_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let own = task(group, groups, size.keys);
    if own.batch >= size.batch / size.group {
        return;
    }
    let r = lane / 8u;
    let c = lane % 8u;
    let count = min(SIDE, size.keys - own.first);
    let keys = Rows(1u, own.batch, own.head, own.first, count);
    let values = Rows(2u, own.batch, own.head, own.first, count);
    var key_sums: Sums;
    var value_sums: Sums;
    for (var batch = own.batch * size.group; batch < (own.batch + 1u) * size.group; batch++) {
        if visible(lane, batch, size.queries - 1u) <= own.first {
            continue;
        }
        let exist = group_most(length(batch), lane);
        let open = open_keys(batch, own.first + 4u * r, exist);
        // Of a causal batch the tile before which no query sees the first key.
        var begin = 0u;
        if CAUSAL {
            begin = (max(own.first + size.queries, exist) - exist) / SIDE * SIDE;
        }
        for (var first = begin; first < size.queries; first += SIDE) {
            let others = Rows(0u, batch, own.head, first, min(SIDE, size.queries - first));
            let dys = Rows(3u, batch, own.head, first, others.count);
            var p = products(lane, keys, others);
            var ds = products(lane, values, dys);
            for (var j = 0u; j < 4u; j++) {
                let query = first + 4u * c + j;
                let row = query_row(batch, own.head, min(query, size.queries - 1u));
                let delta = bitcast<f32>(notes[delta_at(row)]);
                let whole = bitcast<f32>(notes[delta_at(row) + 1u]);
                let end = select(0u, limit(exist, query), query < size.queries);
                let seen = open & (vec4u(0u, 1u, 2u, 3u) + own.first + 4u * r < vec4u(end));
                var factors = vec4f(1.0);
                if DROPOUT {
                    factors = drop_factors(row, own.first + 4u * r);
                }
                for (var i = 0u; i < 4u; i++) {
                    let probability = select(0.0, exp(p[i][j] * size.scale - whole), seen[i]);
                    p[i][j] = probability * factors[i];
                    ds[i][j] = select(0.0, probability * (ds[i][j] * factors[i] - delta) * size.scale, seen[i]);
                }
            }
            if WANTS_KEYS {
                mix(lane, ds, others, own.column, &key_sums);
            }
            if WANTS_VALUES {
                mix(lane, p, dys, own.column, &value_sums);
            }
        }
    }
    if WANTS_KEYS {
        put(lane, keys, own.column, &key_sums);
    }
    if WANTS_VALUES {
        put(lane, values, own.column, &value_sums);
    }
}
