// Puts a value into state: always, or where a flag on the device is not 0.
//
// Elements are moved as the words they are. One invocation an element: 8 bytes an element, bound by memory; with the flag at 0 nothing but it is read.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read_write> state: array<Word>;
@group(0) @binding(1) var<storage, read> value: array<Word>;
@group(0) @binding(2) var<storage, read> flag: array<i32>;

@compute @workgroup_size(WIDTH)
fn assign_forward_u32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    if CONDITIONAL {
        if flag[0] == 0 {
            return;
        }
    }
    state[i] = value[i];
}
