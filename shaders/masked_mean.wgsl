// Mean over the positions that count: y[b, d] = sum over l of m[b, l] x[b, l, d] / n_b, n_b = sum over l of m[b, l]; dx[b, l, d] = m[b, l] dy[b, d] / n_b.
//
// Forward: sums of columns of each b, which count as they go (common/column_sums.wgsl); what does not count is not read. 4 bytes an element that
// counts. Backward: a workgroup takes eight positions of a b, so that counting the mask and reading dy are paid once for eight rows
// that are written. 4 bytes an element. Both bound by memory.

struct Size {
    // Of x as a matrix; a part of its rows is a b.
    columns: Columns,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mask: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// 1 / n, or 0.
fn share(n: f32) -> f32 {
    if n == 0.0 {
        return 0.0;
    }
    return 1.0 / n;
}

fn term(row: u32, column: u32) -> vec3f {
    if mask[row] == 0 {
        return vec3f();
    }
    return vec3f(x[row * size.columns.width + column], 1.0, 0.0);
}

fn put(part: u32, column: u32, sum: vec3f) {
    y[part * size.columns.width + column] = sum.x * share(sum.y);
}

@compute @workgroup_size(WIDTH)
fn masked_mean_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    sum_columns(size.columns, lane, group, groups);
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WIDTH)
fn masked_mean_backward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let length = size.columns.span;
    let width = size.columns.width;
    let strips = (length + POSITIONS - 1u) / POSITIONS;
    let index = row_of(group, groups);
    let b = index / strips;
    let first = index % strips * POSITIONS;
    if b >= size.columns.parts {
        return;
    }
    var counted = 0.0;
    for (var l = lane; l < length; l += WIDTH) {
        counted += select(0.0, 1.0, mask[b * length + l] != 0);
    }
    let factor = share(group_sum(counted, lane));
    for (var column = lane; column < width; column += WIDTH) {
        let d = dy[b * width + column] * factor;
        for (var l = first; l < min(first + POSITIONS, length); l += 1u) {
            dx[(b * length + l) * width + column] = select(0.0, d, mask[b * length + l] != 0);
        }
    }
}
