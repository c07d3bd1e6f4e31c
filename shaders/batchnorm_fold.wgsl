// A convolution's filters [O, ..] and bias, with the normalisation after it: filters scale, (c - mean) scale + b, scale = w / sqrt(var + eps).
//
// One invocation an element of the filters, of which the first make the bias as well. Once for each model, before the first run.

struct Size {
    // Elements, filters, and elements of a filter.
    n: u32,
    filters: u32,
    each: u32,
    eps: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> filters: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> variance: array<f32>;
// The convolution's own bias, with BIAS.
@group(0) @binding(5) var<storage, read> c: array<f32>;
@group(0) @binding(6) var<storage, read_write> folded: array<f32>;
@group(0) @binding(7) var<storage, read_write> bias: array<f32>;

fn scale_of(o: u32) -> f32 {
    return w[o] / sqrt(variance[o] + size.eps);
}

@compute @workgroup_size(WIDTH)
fn batchnorm_fold_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i < size.n {
        folded[i] = filters[i] * scale_of(i / size.each);
    }
    if i < size.filters {
        var before = 0.0;
        if BIAS {
            before = c[i];
        }
        bias[i] = (before - mean[i]) * scale_of(i) + b[i];
    }
}
