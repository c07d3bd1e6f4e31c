// What the gradients of batch normalisation sum over each channel, with dz = dy where the activation let it pass:
//
//   dw = rstd (sum of dz (x - mean))        db = sum of dz
//
// As sums of columns, in two launches even of one part: together they would bind too many buffers. 8 bytes an element, read once: bound by memory. Behind a
// residual, with RESIDUAL, y tells where the activation let dy pass, and dz is written, being the residual's gradient: 16 bytes.

struct Size {
    columns: Columns,
    eps: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
// Where dy lies if IN_PLACE; dz with RESIDUAL.
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
// These three are read for ReLU alone, the last with RESIDUAL too: it is y then.
@group(0) @binding(5) var<storage, read> rstd: array<f32>;
@group(0) @binding(6) var<storage, read> w: array<f32>;
@group(0) @binding(7) var<storage, read> b_or_y: array<f32>;

var<private> by: Affine;

fn term(row: u32, column: u32) -> vec3f {
    let i = row * size.columns.width + column;
    var d: f32;
    if IN_PLACE {
        d = dx[i];
    } else {
        d = dy[i];
    }
    var dz = passed(d, x[i], by);
    if RESIDUAL {
        dz = select(0.0, d, b_or_y[i] > 0.0);
        dx[i] = dz;
    }
    return vec3f(dz * (x[i] - by.mean), dz, 0.0);
}

@compute @workgroup_size(WIDTH)
fn batchnorm_sums_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let s = strip(size.columns, lane, group, groups);
    if s.inside {
        by.mean = mean[s.column];
        if RELU {
            by.scale = w[s.column] * rstd[s.column];
            by.shift = b_or_y[s.column];
        }
    }
    let sum = sum_of_rows(s, lane);
    if lane < COLUMNS && s.inside {
        leave(size.columns, s, sum);
    }
}

// rstd, or with OF_VARIANCE the variance that it is made of.
@group(0) @binding(1) var<storage, read> spread: array<f32>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;
@group(0) @binding(3) var<storage, read_write> db: array<f32>;
// Both, for the gradient of x.
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;

fn put(part: u32, column: u32, sum: vec3f) {
    var scale = spread[column];
    if OF_VARIANCE {
        scale = 1.0 / sqrt(scale + size.eps);
    }
    let weight = sum.x * scale;
    if WEIGHT {
        dw[column] = weight;
    }
    if BIAS {
        db[column] = sum.y;
    }
    if INPUT {
        sums[column] = weight;
        sums[size.columns.width + column] = sum.y;
    }
}

@compute @workgroup_size(WIDTH)
fn batchnorm_parameters_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    finish(size.columns, lane, group, groups);
}
