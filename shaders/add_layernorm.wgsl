// Residual sum and layer normalisation in one pass: s = x + r, y = layernorm(s) as in common/layernorm.wgsl. The backward pass is layernorm's.
//
// One workgroup a row. An invocation leaves its sums in y and finds them there again. Bound by memory: x and r are read once, y is written twice,
// the first time in cache, and s once where it is wanted: 12 to 16 bytes an element.

@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> mean_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> rstd_out: array<f32>;
@group(0) @binding(6) var<storage, read> r: array<f32>;
@group(0) @binding(7) var<storage, read_write> s: array<f32>;

fn take(i: u32) -> f32 {
    let sum = x_at(i) + r[i];
    if SAVE_SUM {
        s[i] = sum;
    }
    y[i] = Real(sum);
    return sum;
}

fn again(i: u32) -> f32 {
    return f32(y[i]);
}

@compute @workgroup_size(WIDTH)
fn add_layernorm_forward_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    normalize(lane, group, groups);
}
