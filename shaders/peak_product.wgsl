// What tensor cores can do at most, where there are none: y = a b^T, a [M, 64], b [256, 64], added up `rounds` times, an invocation an element.

struct Size {
    n: u32,
    rounds: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Real>;
@group(0) @binding(1) var<storage, read> b: array<Real>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> size: Size;

const DEPTH = 64u;
const WIDE = 256u;

@compute @workgroup_size(WIDTH)
fn peak_product_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    var sum = 0.0;
    for (var round = 0u; round < size.rounds; round++) {
        for (var k = 0u; k < DEPTH; k++) {
            sum += f32(a[i / WIDE * DEPTH + k]) * f32(b[i % WIDE * DEPTH + k]);
        }
    }
    y[i] = sum;
}
