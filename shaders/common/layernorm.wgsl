// The forward pass of layer normalisation, row by row: put before the shaders that normalise. They declare size (rows, width, eps), w, b, y,
// mean_out and rstd_out, and say where the numbers are:
//
//   fn take(i: u32) -> f32    element of x; called once for each, before x_at
//   fn x_at(i: u32) -> f32    the same element again
//
// One workgroup a row; the variance is taken in a second pass, over numbers that are in cache by then.

fn normalize(lane: u32, group: vec3u, groups: vec3u) {
    let row = group.x + group.y * groups.x;
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
        let d = x_at(start + i) - mean;
        part += d * d;
    }
    let rstd = 1.0 / sqrt(group_sum(part, lane) / n + size.eps);
    for (var i = lane; i < size.width; i += WIDTH) {
        y[start + i] = (x_at(start + i) - mean) * rstd * w[i] + b[i];
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
