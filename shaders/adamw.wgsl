// AdamW over one parameter, t counting the applied updates from 1; nothing changes where a gradient is not finite:
//
//   p <- p (1 - lr decay)
//   m <- m + (1 - beta1) (g - m)
//   v <- beta2 v + (1 - beta2) g^2
//   p <- p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// Division of work as in common/optimizer.wgsl. Reads 16 and writes 12 bytes an element: bound by memory; for small parameters by the launch.

struct Size {
    n: u32,
    group: u32,
    decay: f32,
    clip_norm: f32,
    // 1 - beta1
    forget1: f32,
    beta2: f32,
    // 1 - beta2
    forget2: f32,
    log_beta1: f32,
    log_beta2: f32,
    eps: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(4) var<storage, read_write> p: array<f32>;
@group(0) @binding(5) var<storage, read_write> m: array<f32>;
@group(0) @binding(6) var<storage, read_write> v: array<f32>;
@group(0) @binding(7) var<storage, read> g: array<f32>;

// 1 - beta^t = 1 - e^(t ln beta): by the half of its argument's hyperbolic tangent, since 1 less a number near 1 has few digits.
fn bias(log_beta: f32) -> f32 {
    let t = f32(steps[0]) + 1.0;
    let half = hyperbolic_tangent(0.5 * t * log_beta);
    return -2.0 * half / (1.0 - half);
}

@compute @workgroup_size(WIDTH)
fn adamw_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if finite[0] == 0 {
        return;
    }
    let lr = rates[size.group];
    let keep = 1.0 - lr * size.decay;
    let scale = lr / bias(size.log_beta1);
    let root = sqrt(bias(size.log_beta2));
    let factor = clip();
    for (var i = span_start(group, groups) + lane; i < span_end(group, groups); i += WIDTH) {
        let gradient = g[i] * factor;
        let first = m[i] + size.forget1 * (gradient - m[i]);
        let second = size.beta2 * v[i] + size.forget2 * gradient * gradient;
        m[i] = first;
        v[i] = second;
        p[i] = p[i] * keep - scale * first / (sqrt(second) / root + size.eps);
    }
}
