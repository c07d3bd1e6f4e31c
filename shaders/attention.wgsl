// Attention forward, for many queries: y = softmax(scale Q K^T + mask) V without a score in memory (Dao et al. 2022, FlashAttention).
//
// A workgroup owns 32 queries of a head and walks along its keys, 32 at a time, with the tiles of common/attention.wgsl: scores, then the running
// maximum and sum of each row (Milakov and Gimelshein 2018), then the values. Where a maximum grows, what was summed before fades by e^(old - new).
// Each invocation sums its own columns of a row; they are added up at the end. Keys beyond the last that is seen are not read.
//
// 4 Lq Lk D FLOPs a head; keys and values are read Lq / 32 times, from cache, queries once for every 32 keys, y is written once. Expected bound:
// workgroup memory, which gives a number for 5 to 8 multiply-adds.

@group(0) @binding(6) var<storage, read_write> y: array<Real>;
// The bits of a number, since there is no infinity among WGSL's.
@group(0) @binding(7) var<storage, read_write> lse: array<u32>;

// Eight numbers for each row, one of each column of invocations.
var<workgroup> beside: array<f32, SIDE * 8u>;

@compute @workgroup_size(LANES)
fn attention_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let own = task(group, groups, size.queries);
    if own.batch >= size.batch {
        return;
    }
    let r = lane / 8u;
    let c = lane % 8u;
    let queries = Rows(0u, own.batch, own.head, own.first, min(SIDE, size.queries - own.first));
    let exist = length(own.batch);
    let keys = visible(lane, own.batch, own.first + queries.count - 1u);
    var top = vec4f(LOWEST);
    var whole = vec4f();
    var sums: Sums;
    for (var first = 0u; first < keys; first += SIDE) {
        let others = Rows(1u, own.batch / size.group, own.head, first, min(SIDE, keys - first));
        var p = products(lane, queries, others);
        let open = open_keys(own.batch, first + 4u * c, keys);
        var seen: array<vec4<bool>, 4>;
        for (var i = 0u; i < 4u; i++) {
            let end = limit(exist, own.first + 4u * r + i);
            seen[i] = open & (vec4u(0u, 1u, 2u, 3u) + first + 4u * c < vec4u(end));
            p[i] = select(vec4f(LOWEST), p[i] * size.scale, seen[i]);
            beside[(4u * r + i) * 8u + c] = max(max(p[i].x, p[i].y), max(p[i].z, p[i].w));
        }
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) {
            var largest = top[i];
            for (var n = 0u; n < 8u; n++) {
                largest = max(largest, beside[(4u * r + i) * 8u + n]);
            }
            let fade = exp(top[i] - largest);
            top[i] = largest;
            p[i] = select(vec4f(), exp(p[i] - largest), seen[i]);
            whole[i] = whole[i] * fade + (p[i].x + p[i].y + p[i].z + p[i].w);
            for (var s = 0u; s < SPANS; s++) {
                sums[i * SPANS + s] *= fade;
            }
            if DROPOUT {
                p[i] *= drop_factors(query_row(own.batch, own.head, own.first + 4u * r + i), first + 4u * c);
            }
        }
        mix(lane, p, Rows(2u, others.batch, own.head, first, others.count), own.column, &sums);
    }
    for (var i = 0u; i < 4u; i++) {
        beside[(4u * r + i) * 8u + c] = whole[i];
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
        let query = own.first + 4u * r + i;
        if query >= size.queries {
            continue;
        }
        var sum = 0.0;
        for (var n = 0u; n < 8u; n++) {
            sum += beside[(4u * r + i) * 8u + n];
        }
        let sees = sum > 0.0;
        let scale = select(0.0, 1.0 / sum, sees);
        let start = row_start(3u, own.batch, query, own.head);
        for (var s = 0u; s < SPANS; s++) {
            for (var n = 0u; n < 4u; n++) {
                let column = own.column + 32u * s + 4u * c + n;
                if column < SIZE {
                    y[start + column] = Real(sums[i * SPANS + s][n] * scale);
                }
            }
        }
        if SAVE && c == 0u && own.column == 0u {
            lse[query_row(own.batch, own.head, query)] = select(INFINITY, bitcast<u32>(top[i] + log(sum)), sees);
        }
    }
}

@group(0) @binding(6) var<storage, read_write> mean: array<Real>;

// The mean of the probabilities over the heads, from lse. A workgroup makes a tile of 32 x 32, head by head.
@compute @workgroup_size(LANES)
fn attention_probabilities_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
) {
    let first = group.x * SIDE;
    let first_query = group.y * SIDE;
    let r = lane / 8u;
    let c = lane % 8u;
    let exist = length(group.z);
    let open = open_keys(group.z, first + 4u * c, exist);
    var sums: array<vec4f, 4>;
    for (var head = 0u; head < size.heads; head++) {
        let queries = Rows(0u, group.z, head, first_query, min(SIDE, size.queries - first_query));
        let others = Rows(1u, group.z / size.group, head, first, min(SIDE, size.keys - first));
        let p = products(lane, queries, others);
        for (var i = 0u; i < 4u; i++) {
            let query = first_query + 4u * r + i;
            if query < size.queries {
                let seen = open & (vec4u(0u, 1u, 2u, 3u) + first + 4u * c < vec4u(limit(exist, query)));
                let whole = bitcast<f32>(lse[query_row(group.z, head, query)]);
                sums[i] += select(vec4f(), exp(p[i] * size.scale - whole), seen);
            }
        }
    }
    for (var i = 0u; i < 4u; i++) {
        let query = first_query + 4u * r + i;
        for (var n = 0u; n < 4u; n++) {
            let key = first + 4u * c + n;
            if query < size.queries && key < size.keys {
                mean[(group.z * size.queries + query) * size.keys + key] = Real(sums[i][n] / f32(size.heads));
            }
        }
    }
}
