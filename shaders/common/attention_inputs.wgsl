// Where the forward kernels of attention find what common/attention.wgsl asks for.

@group(0) @binding(4) var<storage, read> lengths: array<i32>;
@group(0) @binding(5) var<storage, read> rng: array<u32>;

fn number(part: u32, at: u32) -> f32 {
    return source(part, at);
}

fn told_length(batch: u32) -> u32 {
    return u32(max(lengths[(size.first + batch) / size.length_share], 0));
}

fn random() -> vec4u {
    return vec4u(rng[0], rng[1], rng[2], rng[3]);
}
