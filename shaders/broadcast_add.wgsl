// A sum in which one tensor is repeated: y = x + r, where r's extents are the last extents of x. 8 bytes an element: bound by memory. The gradient of r
// is a sum of columns: reduce_leading.wgsl.

struct Size {
    n: u32,
    // Elements of r.
    inner: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(2) var<storage, read> r: array<Real>;

fn value(v: f32, i: u32) -> f32 {
    return v + f32(r[i % size.inner]);
}

@compute @workgroup_size(WIDTH)
fn broadcast_add_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map(id, groups);
}
