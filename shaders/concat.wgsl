// Tensors laid end to end along one dimension: with the dimensions before it as rows, each row of y is a row of every part.
//
// One launch a part, so that any number of them goes; no place is written twice. Elements are moved as the words they are. One invocation an
// element of the part, neighbours beside neighbours: 8 bytes an element, bound by memory.

struct Size {
    // Elements of the part, and of its rows.
    n: u32,
    width: u32,
    // Elements of y's rows, and those of them before the part.
    whole: u32,
    before: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<Word>;
@group(0) @binding(1) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(WIDTH)
fn concat_forward_u32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    y[i / size.width * size.whole + size.before + i % size.width] = x[i];
}
