// Hyperbolic tangent: y = tanh(x); dx = dy (1 - y^2).
//
// Reads 4 and writes 4 bytes an element forward, 8 and 4 backward, 8 FLOPs: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;

fn value(v: f32, i: u32) -> f32 {
    return hyperbolic_tangent(v);
}

// From y, as it came out.
fn derivative(saved: f32) -> f32 {
    return 1.0 - saved * saved;
}

@compute @workgroup_size(WIDTH)
fn tanh_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map(id, groups);
}

@compute @workgroup_size(WIDTH)
fn tanh_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map_backward(id, groups);
}
