// Batch normalisation over the channels, the last dimension: y = act((x - mean) rstd w + b), and the gradient of x.
//
//   forward             mean and variance given     training            mean and rstd of the batch, from batchnorm_statistics.wgsl
//   backward_input      dx = dy rstd w
//   training_backward   dx = rstd w (dz - sum of dz / n - xhat (sum of dz xhat) / n),    dz = dy where the activation let it pass
//
// A workgroup goes down 32 channels of 64 rows, so that an invocation reads what belongs to its channel once for eight elements. Forward 8 bytes an
// element, backward 8, in training 12. Bound by memory. The statistics, and the sums of the backward pass, are passes before this one.

struct Size {
    columns: Columns,
    eps: f32,
    // Rows that the sums were taken over: these, or these among others.
    summed: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> variance: array<f32>;
// Of the batch: the launch before wrote them.
@group(0) @binding(4) var<storage, read_write> batch_mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> batch_rstd: array<f32>;

fn normalise(s: Strip, by: Affine) {
    for (var row = s.row; row < s.end; row += DOWN) {
        let i = row * size.columns.width + s.column;
        y[i] = Real(activated(mapped(x_at(i), by)));
    }
}

@compute @workgroup_size(WIDTH)
fn batchnorm_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let s = strip(size.columns, lane, group, groups);
    if s.inside {
        let rstd = 1.0 / sqrt(variance[s.column] + size.eps);
        normalise(s, Affine(mean[s.column], w[s.column] * rstd, b[s.column]));
    }
}

@compute @workgroup_size(WIDTH)
fn batchnorm_training_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let s = strip(size.columns, lane, group, groups);
    if s.inside {
        normalise(s, Affine(batch_mean[s.column], w[s.column] * batch_rstd[s.column], b[s.column]));
    }
}

// From here on dy is called x, and dx y.

@compute @workgroup_size(WIDTH)
fn batchnorm_backward_input_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let s = strip(size.columns, lane, group, groups);
    if s.inside {
        let scale = w[s.column] / sqrt(variance[s.column] + size.eps);
        for (var row = s.row; row < s.end; row += DOWN) {
            let i = row * size.columns.width + s.column;
            y[i] = Real(x_at(i) * scale);
        }
    }
}

@group(0) @binding(5) var<storage, read> rstd_in: array<f32>;
@group(0) @binding(6) var<storage, read> x_in: array<f32>;
// The sums of dz xhat and of dz of each channel.
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(WIDTH)
fn batchnorm_training_backward_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let s = strip(size.columns, lane, group, groups);
    if s.inside {
        let n = f32(size.summed);
        let rstd = rstd_in[s.column];
        let by = Affine(mean[s.column], w[s.column] * rstd, b[s.column]);
        let offset = by.scale * sums[size.columns.width + s.column] / n;
        let slope = by.scale * rstd * sums[s.column] / n;
        for (var row = s.row; row < s.end; row += DOWN) {
            let i = row * size.columns.width + s.column;
            y[i] = Real(by.scale * passed(x_at(i), x_in[i], by) - (offset + slope * (x_in[i] - by.mean)));
        }
    }
}
