// Adds a gradient to its state over micro-steps: state <- grad in the first, state <- state + grad in the others; grad divided by the loss scale, where
// there is one, whose power of two makes that exact.
//
// One invocation an element. Reads 8 and writes 4 bytes an element, in the first micro-step reads 4: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read_write> state: array<f32>;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
// Seed, seed, step, micro-step.
@group(0) @binding(2) var<storage, read> control: array<i32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;

@compute @workgroup_size(WIDTH)
fn accumulate_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    var v = grad[i];
    if SCALED {
        v *= 1.0 / scale[0];
    }
    if control[3] != 0 {
        v += state[i];
    }
    state[i] = v;
}
