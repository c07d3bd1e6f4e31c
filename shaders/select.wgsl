// One of two tensors, element by element: y = c != 0 ? a : b. Backward: da = c != 0 ? dy : 0 and db = c != 0 ? 0 : dy.
//
// One invocation an element, neighbours beside neighbours. Forward reads 12 and writes 4 bytes an element, backward reads 8 and writes 4 for each
// gradient that is wanted: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> condition: array<i32>;
@group(0) @binding(1) var<storage, read> a: array<Real>;
@group(0) @binding(2) var<storage, read> b: array<Real>;
@group(0) @binding(3) var<storage, read_write> y: array<Real>;

@compute @workgroup_size(WIDTH)
fn select_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    if condition[i] != 0 {
        y[i] = Real(f32(a[i]));
    } else {
        y[i] = Real(f32(b[i]));
    }
}

@group(0) @binding(1) var<storage, read> dy: array<Real>;
@group(0) @binding(2) var<storage, read_write> da: array<Real>;
@group(0) @binding(3) var<storage, read_write> db: array<Real>;

@compute @workgroup_size(WIDTH)
fn select_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    let first = condition[i] != 0;
    let d = f32(dy[i]);
    if WANT_A {
        da[i] = Real(select(0.0, d, first));
    }
    if WANT_B {
        db[i] = Real(select(d, 0.0, first));
    }
}
