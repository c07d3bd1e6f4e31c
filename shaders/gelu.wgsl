// Gaussian error linear unit, exact: y = x/2 (1 + erf(x / sqrt 2)); dx = dy (Phi(x) + x phi(x)), phi the normal density.
//
// Reads 4 and writes 4 bytes an element forward, 8 and 4 backward, 20 FLOPs: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;

fn value(v: f32, i: u32) -> f32 {
    return gelu(v);
}

// From x, as it went in.
fn derivative(saved: f32) -> f32 {
    return gelu_derivative(saved);
}

@compute @workgroup_size(WIDTH)
fn gelu_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map(id, groups);
}

@compute @workgroup_size(WIDTH)
fn gelu_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map_backward(id, groups);
}
