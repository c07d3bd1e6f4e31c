// Sum or mean over the first or last dimensions of x, seen as [outer, inner]:
//
//   leading   y[i] = s sum over o of x[o, i]      dx[o, i] = s dy[i]
//   trailing  y[o] = s sum over i of x[o, i]      dx[o, i] = s dy[o]
//
// Leading is in reduce_leading.wgsl. Trailing: a workgroup a row; neighbours read neighbours, and each number is read once: bound by memory.

struct Size {
    outer: u32,
    inner: u32,
    factor: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn reduce_trailing_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = row_of(group, groups);
    if row >= size.outer {
        return;
    }
    var part = 0.0;
    for (var i = lane; i < size.inner; i += WIDTH) {
        part += x[row * size.inner + i];
    }
    let sum = group_sum(part, lane);
    if lane == 0u {
        y[row] = sum * size.factor;
    }
}

// x is dy here, y is dx.
@compute @workgroup_size(WIDTH)
fn reduce_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.outer * size.inner {
        return;
    }
    y[i] = x[select(i % size.inner, i / size.inner, TRAILING)] * size.factor;
}
