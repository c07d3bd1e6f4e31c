// Dropout: y = x keep / (1 - p), keep is 0 with probability p, else 1; dx is the same of dy. The mask is a function of the element's address.
//
// A workgroup takes 1024 elements: each invocation asks the generator once, for the four elements of a group, and leaves what is kept of them as
// four bits in 1 KiB of workgroup memory, so that elements are then read and written neighbour beside neighbour. 8 bytes and some 60 integer
// operations an element: bound by memory where integer multiplication is fast.

struct Size {
    n: u32,
    // Groups of four before the first of these elements.
    first: u32,
    key_low: u32,
    key_high: u32,
    // Words below it are dropped.
    threshold: u32,
    // 1 / (1 - p)
    factor: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(2) var<storage, read> rng: array<u32>;

var<workgroup> kept: array<u32, WIDTH>;

@compute @workgroup_size(WIDTH)
fn dropout_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let first = row_of(group, groups) * WIDTH;
    let words = drop_words(size.first + first + lane, vec4u(rng[0], rng[1], rng[2], rng[3]), vec2u(size.key_low, size.key_high));
    let bits = select(vec4u(0u), vec4u(1u, 2u, 4u, 8u), words >= vec4u(size.threshold));
    kept[lane] = bits.x | bits.y | bits.z | bits.w;
    workgroupBarrier();
    for (var at = lane; at < WIDTH * 4u; at += WIDTH) {
        let i = first * 4u + at;
        if i < size.n {
            let keep = (kept[at / 4u] >> (at % 4u)) & 1u;
            y[i] = Real(x_at(i) * select(0.0, size.factor, keep == 1u));
        }
    }
}
