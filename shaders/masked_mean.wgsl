// Mean over the positions that count: y[b, d] = sum over l of m[b, l] x[b, l, d] / n_b, n_b = sum over l of m[b, l]; dx[b, l, d] = m[b, l] dy[b, d] / n_b.
//
// Forward: a workgroup takes 32 columns of a b, eight positions of them at once, and counts as it goes; what does not count is not read. 4 bytes an
// element that counts. Backward: a workgroup takes eight positions of a b, so that counting the mask and reading dy are paid once for eight rows
// that are written. 4 bytes an element. Both bound by memory.

struct Size {
    batch: u32,
    length: u32,
    width: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> mask: array<i32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// 1 / n, or 0.
fn share(n: f32) -> f32 {
    if n == 0.0 {
        return 0.0;
    }
    return 1.0 / n;
}

@compute @workgroup_size(WIDTH)
fn masked_mean_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let strips = (size.width + COLUMNS - 1u) / COLUMNS;
    let index = row_of(group, groups);
    let b = index / strips;
    let column = index % strips * COLUMNS + lane % COLUMNS;
    if b >= size.batch {
        return;
    }
    var part = 0.0;
    var counted = 0.0;
    for (var l = lane / COLUMNS; l < size.length; l += WIDTH / COLUMNS) {
        if mask[b * size.length + l] != 0 {
            counted += 1.0;
            if column < size.width {
                part += x[(b * size.length + l) * size.width + column];
            }
        }
    }
    let sum = column_sum(part, lane);
    let n = column_sum(counted, lane);
    if lane < COLUMNS && column < size.width {
        y[b * size.width + column] = sum * share(n);
    }
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WIDTH)
fn masked_mean_backward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let strips = (size.length + POSITIONS - 1u) / POSITIONS;
    let index = row_of(group, groups);
    let b = index / strips;
    let first = index % strips * POSITIONS;
    if b >= size.batch {
        return;
    }
    var counted = 0.0;
    for (var l = lane; l < size.length; l += WIDTH) {
        counted += select(0.0, 1.0, mask[b * size.length + l] != 0);
    }
    let factor = share(group_sum(counted, lane));
    for (var column = lane; column < size.width; column += WIDTH) {
        let d = dy[b * size.width + column] * factor;
        for (var l = first; l < min(first + POSITIONS, size.length); l += 1u) {
            dx[(b * size.length + l) * size.width + column] = select(0.0, d, mask[b * size.length + l] != 0);
        }
    }
}
