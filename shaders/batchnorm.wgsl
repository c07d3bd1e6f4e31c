// Batch normalisation over the channels, the last dimension: y = act((x - mean) rstd w + b), and the gradient of x. In training a residual may be added before
// the activation.
//
//   forward             mean and variance given     training            mean and rstd of the batch, from batchnorm_statistics.wgsl
//   backward_input      dx = dy rstd w
//   training_backward   dx = rstd w (dz - sum of dz / n - xhat (sum of dz xhat) / n),    dz = dy where the activation let it pass
//
// A workgroup goes down 32 channels of 64 rows, so that an invocation reads what belongs to its channel once for eight elements. Forward 8 bytes an
// element, 12 with a residual, backward 8, in training 12. Bound by memory. The statistics, and the sums of the backward pass, are passes before this one.

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

@group(0) @binding(6) var<storage, read> residual: array<f32>;

@compute @workgroup_size(WIDTH)
fn batchnorm_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let s = strip(size.columns, lane, group, groups);
    if s.inside {
        let rstd = 1.0 / sqrt(variance[s.column] + size.eps);
        let by = Affine(mean[s.column], w[s.column] * rstd, b[s.column]);
        for (var row = s.row; row < s.end; row += DOWN) {
            let i = row * size.columns.width + s.column;
            y[i] = Real(mapped(x_at(i), by));
        }
    }
}

@compute @workgroup_size(WIDTH)
fn batchnorm_training_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let s = strip(size.columns, lane, group, groups);
    if s.inside {
        let by = Affine(batch_mean[s.column], w[s.column] * batch_rstd[s.column], b[s.column]);
        for (var row = s.row; row < s.end; row += DOWN) {
            let i = row * size.columns.width + s.column;
            var z = mapped(x_at(i), by);
            if RESIDUAL_IN_PLACE {
                z += f32(y[i]);
            } else if RESIDUAL {
                z += residual[i];
            }
            y[i] = Real(activated(z));
        }
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

// The gradient of x in a channel: by.scale dz - (offset + slope (x - by.mean)).
struct Gradient {
    by: Affine,
    offset: f32,
    slope: f32,
}

fn gradient_of(column: u32) -> Gradient {
    let n = f32(size.summed);
    let rstd = rstd_in[column];
    let by = Affine(mean[column], w[column] * rstd, b[column]);
    return Gradient(by, by.scale * sums[size.columns.width + column] / n, by.scale * rstd * sums[column] / n);
}

fn gradient(dz: f32, x: f32, channel: Gradient) -> f32 {
    return channel.by.scale * dz - (channel.offset + channel.slope * (x - channel.by.mean));
}

@compute @workgroup_size(WIDTH)
fn batchnorm_training_backward_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let s = strip(size.columns, lane, group, groups);
    if s.inside {
        let channel = gradient_of(s.column);
        for (var row = s.row; row < s.end; row += DOWN) {
            let i = row * size.columns.width + s.column;
            y[i] = Real(gradient(passed(x_at(i), x_in[i], channel.by), x_in[i], channel));
        }
    }
}

// Behind a residual: the pass that sums has written dz.
@group(0) @binding(0) var<storage, read_write> dz: array<f32>;

@compute @workgroup_size(WIDTH)
fn batchnorm_training_backward_residual_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let s = strip(size.columns, lane, group, groups);
    if s.inside {
        let channel = gradient_of(s.column);
        for (var row = s.row; row < s.end; row += DOWN) {
            let i = row * size.columns.width + s.column;
            y[i] = Real(gradient(dz[i], x_in[i], channel));
        }
    }
}
