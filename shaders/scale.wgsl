// Product with a fixed number: y = factor x. The gradient is the same with dy for x.
//
// One invocation an element. Reads 4 and writes 4 bytes an element, 1 FLOPs: bound by memory.

struct Size {
    n: u32,
    factor: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn scale_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
    y[i] = size.factor * v;
}
