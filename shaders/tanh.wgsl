// Hyperbolic tangent: y = tanh(x); dx = dy (1 - y^2).
//
// One invocation an element. Reads 4 and writes 4 bytes an element, 8 FLOPs: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn tanh_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
    y[i] = hyperbolic_tangent(v);
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
// y, as it came out.
@group(0) @binding(1) var<storage, read> saved: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WIDTH)
fn tanh_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
    dx[i] = d * (1.0 - v * v);
}
