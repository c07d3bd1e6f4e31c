// Logarithm of the softmax over the last dimension: y_i = x_i - max x - ln(sum of e^(x_j - max x)); dx = dy - e^y sum of dy.
//
// One workgroup a row, whose numbers its invocations take in turn: element by element of the row beside each other, so that reads are whole
// cache lines. Forward reads x three times, twice of them from the cache where the row fits, and writes y: 8 bytes an element at best.

@compute @workgroup_size(WIDTH)
fn log_softmax_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = row_of(group, groups);
    if row >= size.rows {
        return;
    }
    let start = row * size.width;
    let found = largest_and_sum(start, lane);
    // Taken off one after the other: the difference of a small number and the logarithm keeps its digits.
    let log_of_sum = log(found.y);
    for (var i = lane; i < size.width; i += WIDTH) {
        y[start + i] = Real((x_at(start + i) - found.x) - log_of_sum);
    }
}

@compute @workgroup_size(WIDTH)
fn log_softmax_backward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = row_of(group, groups);
    if row >= size.rows {
        return;
    }
    let start = row * size.width;
    var part = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        part += x_at(start + i);
    }
    let whole = group_sum(part, lane);
    for (var i = lane; i < size.width; i += WIDTH) {
        y[start + i] = Real(x_at(start + i) - exp(saved[start + i]) * whole);
    }
}
