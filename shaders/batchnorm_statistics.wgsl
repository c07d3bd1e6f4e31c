// Mean and variance of each channel over the batch, as sums of columns: 4 bytes an element, read once. `variance_out` is the unbiased estimate, with
// n - 1, as running statistics want it; rstd is made of the biased one. Bound by memory.
//
// With JOIN, x is moments of parts of the rows, [parts, 3, width]: a row of `columns` is a part then.

struct Size {
    columns: Columns,
    eps: f32,
    rows: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// Where x lies if IN_PLACE.
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> mean_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> variance_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> rstd_out: array<f32>;

fn term(row: u32, column: u32) -> vec3f {
    if JOIN {
        let part = row * 3u * size.columns.width + column;
        return vec3f(x[part], x[part + size.columns.width], x[part + 2u * size.columns.width]);
    }
    let i = row * size.columns.width + column;
    if IN_PLACE {
        return vec3f(1.0, y[i], 0.0);
    }
    return vec3f(1.0, x[i], 0.0);
}

fn put(part: u32, column: u32, sum: vec3f) {
    let n = f32(size.rows);
    mean_out[column] = sum.y;
    variance_out[column] = sum.z / (n - 1.0);
    rstd_out[column] = 1.0 / sqrt(sum.z / n + size.eps);
}

@compute @workgroup_size(WIDTH)
fn batchnorm_statistics_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    sum_columns(size.columns, lane, group, groups);
}
