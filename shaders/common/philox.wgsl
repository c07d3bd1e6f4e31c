// Philox 4x32-10 (Salmon et al. 2011), bit for bit that of src/ops/support/philox.rs: random words that depend on nothing but their address.
// Put before the shaders that drop elements; 20 multiplications of 32 by 32 bits for four words.

const MULTIPLIERS = vec2u(0xd2511f53u, 0xcd9e8d57u);
const WEYL = vec2u(0x9e3779b9u, 0xbb67ae85u);
const ROUNDS = 10u;

// The upper half of a product of 64 bits, which WGSL has no type for: by halves of 16. No sum overflows.
fn upper(a: vec2u, b: vec2u) -> vec2u {
    let low = (a & vec2u(0xffffu)) * (b & vec2u(0xffffu));
    let left = (a >> vec2u(16u)) * (b & vec2u(0xffffu)) + (low >> vec2u(16u));
    let right = (a & vec2u(0xffffu)) * (b >> vec2u(16u)) + (left & vec2u(0xffffu));
    return (a >> vec2u(16u)) * (b >> vec2u(16u)) + (left >> vec2u(16u)) + (right >> vec2u(16u));
}

fn philox(counter: vec4u, first_key: vec2u) -> vec4u {
    var words = counter;
    var key = first_key;
    for (var round = 0u; round < ROUNDS; round += 1u) {
        let high = upper(MULTIPLIERS, words.xz);
        let low = MULTIPLIERS * words.xz;
        words = vec4u(high.y ^ words.y ^ key.x, low.y, high.x ^ words.w ^ key.y, low.x);
        key += WEYL;
    }
    return words;
}

// The four words of the elements from 4 `group` on; `rng` is [seed_lo, seed_hi, step, micro_step]. An element is dropped where its word is below
// round(p 2^32). Groups of more than 32 bits do not occur: no tensor has 2^34 elements.
fn drop_words(group: u32, rng: vec4u, key: vec2u) -> vec4u {
    return philox(vec4u(group, 0u, rng.zw), rng.xy ^ key);
}
