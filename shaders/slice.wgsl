// A run of indices along one dimension: with the dimensions before it as rows, each `whole` elements long, y's rows are elements
// `before .. before + kept` of x's. Backward: dx's rows are dy's within zeros.
//
// Elements are moved as the words they are, floating point or not. One invocation an element of what is written, neighbours beside neighbours:
// each number is read once and written once, 8 bytes an element; backward reads nothing for the zeros. Bound by memory.

struct Size {
    // Elements that are written.
    n: u32,
    kept: u32,
    before: u32,
    whole: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<Word>;
@group(0) @binding(1) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(WIDTH)
fn slice_forward_u32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    y[i] = x[i / size.kept * size.whole + size.before + i % size.kept];
}

// x is dy here, y is dx.
@compute @workgroup_size(WIDTH)
fn slice_backward_u32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    let at = i % size.whole;
    // The word of 0.0 is 0.
    var word = Word();
    if at >= size.before && at - size.before < size.kept {
        word = x[i / size.whole * size.kept + at - size.before];
    }
    y[i] = word;
}
