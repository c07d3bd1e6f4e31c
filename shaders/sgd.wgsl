// Stochastic gradient descent with momentum over one parameter; nothing changes where a gradient is not finite:
//
//   g <- g + decay p
//   m <- mu m + g
//   p <- p - lr (g + mu m) (Nesterov), or lr m
//
// Division of work as in common/optimizer.wgsl. Reads 12 and writes 8 bytes an element: bound by memory; for small parameters by the launch.

struct Size {
    n: u32,
    group: u32,
    decay: f32,
    clip_norm: f32,
    momentum: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(4) var<storage, read_write> p: array<f32>;
@group(0) @binding(5) var<storage, read_write> m: array<f32>;
@group(0) @binding(6) var<storage, read> g: array<f32>;

@compute @workgroup_size(WIDTH)
fn sgd_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if finite[0] == 0 {
        return;
    }
    let lr = rates[size.group];
    let factor = clip();
    for (var i = span_start(group, groups) + lane; i < span_end(group, groups); i += WIDTH) {
        let gradient = g[i] * factor + size.decay * p[i];
        let sum = size.momentum * m[i] + gradient;
        m[i] = sum;
        p[i] -= lr * select(sum, gradient + size.momentum * sum, NESTEROV);
    }
}
