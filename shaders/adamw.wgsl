// AdamW over all parameters, t counting the applied updates from 1; nothing changes where a gradient is not finite:
//
//   p <- p (1 - lr decay)
//   m <- m + (1 - beta1) (g - m)
//   v <- beta2 v + (1 - beta2) g^2
//   p <- p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// Division of work as in common/optimizer.wgsl. Reads 16 and writes 12 bytes an element: bound by memory.

struct Size {
    rates: u32,
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
@group(0) @binding(2) var<storage, read_write> p: array<f32>;
@group(0) @binding(3) var<storage, read_write> m: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<f32>;
@group(0) @binding(5) var<storage, read> g: array<f32>;

// 1 - beta^t = 1 - e^(t ln beta): by the half of its argument's hyperbolic tangent, since 1 less a number near 1 has few digits.
fn bias(log_beta: f32) -> f32 {
    let t = f32(steps[0]) + 1.0;
    let half = hyperbolic_tangent(0.5 * t * log_beta);
    return -2.0 * half / (1.0 - half);
}

@compute @workgroup_size(WIDTH)
fn adamw_control_f32(@builtin(local_invocation_index) lane: u32) {
    write_control(lane);
    if lane == 0u {
        control[OWN] = bias(size.log_beta1);
        control[OWN + 1u] = sqrt(bias(size.log_beta2));
    }
}

@compute @workgroup_size(WIDTH)
fn adamw_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if control[APPLIED] == 0.0 {
        return;
    }
    let task = task_of(group, groups);
    let keep = 1.0 - rate(task) * decay(task);
    let scale = rate(task) / control[OWN];
    let root = control[OWN + 1u];
    let factor = control[CLIP_FACTOR];
    let p0 = origin(task, 0u);
    let m0 = origin(task, 1u);
    let v0 = origin(task, 2u);
    let g0 = origin(task, 3u);
    for (var i = task.start + lane; i < task.end; i += WIDTH) {
        let gradient = g[g0 + i] * factor;
        let first = m[m0 + i] + size.forget1 * (gradient - m[m0 + i]);
        let second = size.beta2 * v[v0 + i] + size.forget2 * gradient * gradient;
        m[m0 + i] = first;
        v[v0 + i] = second;
        p[p0 + i] = p[p0 + i] * keep - scale * first / (sqrt(second) / root + size.eps);
    }
}
