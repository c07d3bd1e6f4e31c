// Softmax over the last dimension: y_i = e^(x_i - max x) / sum of e^(x_j - max x); dx = y (dy - sum of dy y).
//
// One workgroup a row, whose numbers its invocations take in turn: element by element of the row beside each other, so that reads are whole
// cache lines. Forward reads x three times, twice of them from the cache where the row fits, and writes y: 8 bytes an element at best.

@compute @workgroup_size(WIDTH)
fn softmax_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = row_of(group, groups);
    if row >= size.rows {
        return;
    }
    let start = row * size.width;
    let found = largest_and_sum(start, lane);
    let scale = 1.0 / found.y;
    for (var i = lane; i < size.width; i += WIDTH) {
        y[start + i] = Real(exp(x_at(start + i) - found.x) * scale);
    }
}

@compute @workgroup_size(WIDTH)
fn softmax_backward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = row_of(group, groups);
    if row >= size.rows {
        return;
    }
    let start = row * size.width;
    var part = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        part += x_at(start + i) * saved[start + i];
    }
    let whole = group_sum(part, lane);
    for (var i = lane; i < size.width; i += WIDTH) {
        y[start + i] = Real(saved[start + i] * (x_at(start + i) - whole));
    }
}
