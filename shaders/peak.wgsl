// What a device can do at most: every number goes through `rounds` of v <- a v + b, and with none of them is copied.
//
// An invocation has four numbers, 16 bytes that are read and written at once, and four chains of multiply-adds that do not wait for each other.
// 2 FLOPs a number and round, 8 bytes a number.

struct Size {
    fours: u32,
    rounds: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(0) var<uniform> size: Size;

@compute @workgroup_size(WIDTH)
fn peak_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.fours {
        return;
    }
    var v = x[i];
    for (var round = 0u; round < size.rounds; round++) {
        v = fma(v, vec4f(size.a), vec4f(size.b));
    }
    y[i] = v;
}
