// The forward pass of layer normalisation, row by row, after common/in_place.wgsl: put before the shaders that normalise. They declare w, b,
// mean_out and rstd_out, and say where the numbers are:
//
//   fn take(i: u32) -> f32     element of what is normalised; called once for each, before `again`
//   fn again(i: u32) -> f32    the same element
//
// One workgroup a row; the variance is taken in a second pass, over numbers that are in cache by then.

struct Size {
    rows: u32,
    width: u32,
    eps: f32,
}

@group(1) @binding(0) var<uniform> size: Size;

fn normalize(lane: u32, group: vec3u, groups: vec3u) {
    let row = row_of(group, groups);
    if row >= size.rows {
        return;
    }
    let start = row * size.width;
    let n = f32(size.width);
    var part = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        part += take(start + i);
    }
    let mean = group_sum(part, lane) / n;
    part = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        let d = again(start + i) - mean;
        part += d * d;
    }
    let rstd = 1.0 / sqrt(group_sum(part, lane) / n + size.eps);
    for (var i = lane; i < size.width; i += WIDTH) {
        y[start + i] = Real((again(start + i) - mean) * rstd * w[i] + b[i]);
    }
    if lane == 0u {
        if SAVE_MEAN {
            mean_out[row] = mean;
        }
        if SAVE_RSTD {
            rstd_out[row] = rstd;
        }
    }
}
