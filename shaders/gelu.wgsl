// Gaussian error linear unit, exact: y = x/2 (1 + erf(x / sqrt 2)); dx = dy (Phi(x) + x phi(x)), phi the normal density.
//
// One invocation an element. Reads 4 and writes 4 bytes an element, 20 FLOPs: bound by memory.

const SQRT_HALF = 0.70710678;
// 1 / sqrt(2 pi)
const NORMAL = 0.39894228;

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn gelu_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    var v: f32;
    if IN_PLACE {
        v = y[i];
    } else {
        v = x[i];
    }
    y[i] = 0.5 * v * (1.0 + erf(v * SQRT_HALF));
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
// x, as it went in.
@group(0) @binding(1) var<storage, read> saved: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WIDTH)
fn gelu_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    var d: f32;
    if IN_PLACE {
        d = dx[i];
    } else {
        d = dy[i];
    }
    let v = saved[i];
    dx[i] = d * (0.5 * (1.0 + erf(v * SQRT_HALF)) + v * NORMAL * exp(-0.5 * v * v));
}
