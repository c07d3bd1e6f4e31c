// Conversion to f32, of integers or as a copy; half precision has no kernels yet.
//
// One invocation an element, 8 bytes an element: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WIDTH)
fn cast_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    y[i] = x[i];
}

@compute @workgroup_size(WIDTH)
fn cast_forward_i32_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    y[i] = bitcast<u32>(f32(bitcast<i32>(x[i])));
}
