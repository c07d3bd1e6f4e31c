// Logarithm of the softmax over the last dimension: y_i = x_i - max x - ln(sum of e^(x_j - max x)); dx = dy - e^y sum of dy.
//
// One workgroup a row, whose numbers its invocations take in turn: element by element of the row beside each other, so that reads are whole
// cache lines. Forward reads x three times, twice of them from the cache where the row fits, and writes y: 8 bytes an element at best.

struct Size {
    rows: u32,
    width: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

fn x_at(i: u32) -> f32 {
    if IN_PLACE {
        return y[i];
    }
    return x[i];
}

@compute @workgroup_size(WIDTH)
fn log_softmax_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = group.x + group.y * groups.x;
    if row >= size.rows {
        return;
    }
    let start = row * size.width;
    var top = LOWEST;
    for (var i = lane; i < size.width; i += WIDTH) {
        top = max(top, x_at(start + i));
    }
    top = group_max(top, lane);
    var part = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        part += exp(x_at(start + i) - top);
    }
    let whole = group_sum(part, lane);
    // Taken off one after the other: the difference of a small number and the logarithm keeps its digits.
    let log_of_sum = log(whole);
    for (var i = lane; i < size.width; i += WIDTH) {
        y[start + i] = (x_at(start + i) - top) - log_of_sum;
    }
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
// As it came out.
@group(0) @binding(1) var<storage, read> saved: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

fn dy_at(i: u32) -> f32 {
    if IN_PLACE {
        return dx[i];
    }
    return dy[i];
}

@compute @workgroup_size(WIDTH)
fn log_softmax_backward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = group.x + group.y * groups.x;
    if row >= size.rows {
        return;
    }
    let start = row * size.width;
    var part = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        part += dy_at(start + i);
    }
    let whole = group_sum(part, lane);
    for (var i = lane; i < size.width; i += WIDTH) {
        dx[start + i] = dy_at(start + i) - exp(saved[start + i]) * whole;
    }
}
