// Conversion between what numbers are stored as, rounding to the nearest: from integers, from f32, and from 16 bits to f32. Real is f16 where either
// side is.
//
// One invocation an element, 4 to 8 bytes an element: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<Real>;

@compute @workgroup_size(WIDTH)
fn cast_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i < size.n {
        y[i] = Real(x[i]);
    }
}

@group(0) @binding(0) var<storage, read> integers: array<i32>;

@compute @workgroup_size(WIDTH)
fn cast_forward_i32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i < size.n {
        y[i] = Real(f32(integers[i]));
    }
}

@group(0) @binding(0) var<storage, read> narrow: array<Real>;
@group(0) @binding(1) var<storage, read_write> wide: array<f32>;

@compute @workgroup_size(WIDTH)
fn cast_forward_widen(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i < size.n {
        wide[i] = f32(narrow[i]);
    }
}
