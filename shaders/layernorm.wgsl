// Layer normalisation over the last dimension: y = (x - mean) rstd w + b, rstd = 1 / sqrt(var + eps); mean and rstd are saved.
//
//   xhat = (x - mean) rstd        g = dy w
//   dx = rstd (g - mean of g - xhat (mean of g xhat)) (+ ds)
//
// One workgroup a row, forward as in common/layernorm.wgsl. Bound by memory: 8 bytes an element forward, 12 to 16 backward.

@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> mean_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> rstd_out: array<f32>;

fn take(i: u32) -> f32 {
    return x_at(i);
}

fn again(i: u32) -> f32 {
    return x_at(i);
}

@compute @workgroup_size(WIDTH)
fn layernorm_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    normalize(lane, group, groups);
}

// dy is called x here, and dx y.
@group(0) @binding(3) var<storage, read> of_x: array<f32>;
@group(0) @binding(4) var<storage, read> mean_in: array<f32>;
@group(0) @binding(5) var<storage, read> rstd_in: array<f32>;
@group(0) @binding(6) var<storage, read> ds: array<f32>;

@compute @workgroup_size(WIDTH)
fn layernorm_backward_input_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let row = row_of(group, groups);
    if row >= size.rows {
        return;
    }
    let start = row * size.width;
    let n = f32(size.width);
    let mean = mean_in[row];
    let rstd = rstd_in[row];
    var part = 0.0;
    var along = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        let g = x_at(start + i) * w[i];
        part += g;
        along += g * ((of_x[start + i] - mean) * rstd);
    }
    let mean_g = group_sum(part, lane) / n;
    let mean_along = group_sum(along, lane) / n;
    for (var i = lane; i < size.width; i += WIDTH) {
        let g = x_at(start + i) * w[i];
        var d = rstd * (g - mean_g - (of_x[start + i] - mean) * rstd * mean_along);
        if ADD {
            d += ds[start + i];
        }
        y[start + i] = Real(d);
    }
}
