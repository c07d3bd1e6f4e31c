// Rectified linear unit: y = max(x, 0), and dx = dy where x > 0. NaN comes through.
//
// Reads 4 and writes 4 bytes an element forward, 8 and 4 backward, 1 FLOP: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;

fn value(v: f32, i: u32) -> f32 {
    return relu(v);
}

// From x, as it went in.
fn derivative(saved: f32) -> f32 {
    return select(0.0, 1.0, saved > 0.0);
}

@compute @workgroup_size(WIDTH)
fn relu_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map(id, groups);
}

@compute @workgroup_size(WIDTH)
fn relu_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map_backward(id, groups);
}
