// A sum in which one tensor is repeated: y = x + r, where r's extents are the last extents of x. One invocation an element, 8 bytes an element:
// bound by memory. The gradient of r is a sum of columns: reduce_leading.wgsl.

struct Size {
    n: u32,
    // Elements of r.
    inner: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn broadcast_add_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
    y[i] = v + r[i % size.inner];
}
