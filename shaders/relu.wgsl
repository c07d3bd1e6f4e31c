// Rectified linear unit: y = max(x, 0), and dx = dy where x > 0. NaN comes through: a broken step must not look whole.
//
// One invocation an element. Reads 4 and writes 4 bytes an element, 1 FLOPs: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn relu_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
    y[i] = select(v, 0.0, v < 0.0);
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
// x, as it went in.
@group(0) @binding(1) var<storage, read> saved: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WIDTH)
fn relu_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
    dx[i] = d * select(0.0, 1.0, v > 0.0);
}
