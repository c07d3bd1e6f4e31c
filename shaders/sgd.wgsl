// Stochastic gradient descent with momentum over all parameters; nothing changes where a gradient is not finite:
//
//   g <- g + decay p
//   m <- mu m + g
//   p <- p - lr (g + mu m) (Nesterov), or lr m
//
// Division of work as in common/optimizer.wgsl. Reads 12 and writes 8 bytes an element: bound by memory.

struct Size {
    rates: u32,
    clip_norm: f32,
    momentum: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(2) var<storage, read_write> p: array<f32>;
@group(0) @binding(3) var<storage, read_write> m: array<f32>;
@group(0) @binding(4) var<storage, read> g: array<f32>;

@compute @workgroup_size(WIDTH)
fn sgd_control_f32(@builtin(local_invocation_index) lane: u32) {
    write_control(lane);
}

@compute @workgroup_size(WIDTH)
fn sgd_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if control[APPLIED] == 0.0 {
        return;
    }
    let task = task_of(group, groups);
    let lr = rate(task);
    let decay = decay(task);
    let factor = control[CLIP_FACTOR];
    let p0 = origin(task, 0u);
    let m0 = origin(task, 1u);
    let g0 = origin(task, 2u);
    for (var i = task.start + lane; i < task.end; i += WIDTH) {
        let gradient = g[g0 + i] * factor + decay * p[p0 + i];
        let sum = size.momentum * m[m0 + i] + gradient;
        m[m0 + i] = sum;
        p[p0 + i] -= lr * select(sum, gradient + size.momentum * sum, NESTEROV);
    }
}
