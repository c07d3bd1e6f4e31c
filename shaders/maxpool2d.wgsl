// The maximum of each window of KERNEL x KERNEL pixels of pictures [B, H, W, C]; of equal ones the first, and NaN wins. The winner's pixel is saved.
//
// One invocation an element, channels side by side: neighbours read neighbours. Forward, windows overlap in the cache: 4 bytes an element of x, 8 of y.
// Backward gathers: an element of dx goes through the windows that cover its pixel, in order, and adds up those that it won: 8 bytes an element of
// dy, 4 of dx. Bound by memory. KERNEL, STRIDE and PADDING are constants, so that loops over windows have no counters.

struct Size {
    // Elements of what is written.
    n: u32,
    height: u32,
    width: u32,
    channels: u32,
    // Windows along each side.
    down: u32,
    across: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<Real>;
@group(0) @binding(1) var<storage, read_write> y: array<Real>;
@group(0) @binding(2) var<storage, read_write> won: array<i32>;

// Through the bits: compilers may take it that there is none.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// Picture, row, column and channel of an element of pictures of these extents.
fn place(i: u32, height: u32, width: u32) -> vec4u {
    let pixel = i / size.channels;
    let row = pixel / width;
    return vec4u(row / height, row % height, pixel % width, i % size.channels);
}

@compute @workgroup_size(WIDTH)
fn maxpool2d_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    let at = place(i, size.down, size.across);
    let start = at.yz * STRIDE;
    let first = max(start, vec2u(PADDING)) - PADDING;
    let end = min(start + (KERNEL - PADDING), vec2u(size.height, size.width));
    let picture = at.x * size.height * size.width;
    var winner = first.x * size.width + first.y;
    var best = f32(x[(picture + winner) * size.channels + at.w]);
    for (var row = first.x; row < end.x; row++) {
        for (var column = first.y; column < end.y; column++) {
            let pixel = row * size.width + column;
            let v = f32(x[(picture + pixel) * size.channels + at.w]);
            if (v > best || is_nan(v)) && !is_nan(best) {
                best = v;
                winner = pixel;
            }
        }
    }
    y[i] = Real(best);
    if SAVE {
        won[i] = i32(winner);
    }
}

@group(0) @binding(0) var<storage, read> dy: array<Real>;
@group(0) @binding(1) var<storage, read> winners: array<i32>;
@group(0) @binding(2) var<storage, read_write> dx: array<Real>;

@compute @workgroup_size(WIDTH)
fn maxpool2d_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    let at = place(i, size.height, size.width);
    let pixel = i32(at.y * size.width + at.z);
    // The windows that cover the pixel: the last starts at or before it, the first is the first to end behind it.
    let last = at.yz + PADDING;
    let first = (max(last + 1u, vec2u(KERNEL)) - KERNEL + STRIDE - 1u) / STRIDE;
    let end = min(last / STRIDE + 1u, vec2u(size.down, size.across));
    var sum = 0.0;
    for (var row = first.x; row < end.x; row++) {
        for (var column = first.y; column < end.y; column++) {
            let window = ((at.x * size.down + row) * size.across + column) * size.channels + at.w;
            if winners[window] == pixel {
                sum += f32(dy[window]);
            }
        }
    }
    dx[i] = Real(sum);
}
