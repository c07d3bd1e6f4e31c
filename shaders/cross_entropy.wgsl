// Cross-entropy of rows of logits x [R, V], the mean over the rows whose label counts, or their sum over a denominator; s is the label smoothing:
//
//   top  = max x,  log_sum = ln(sum of e^(x - top))                         saved, apart: a loss near 0 is their difference
//   loss = 1/n sum over rows of (1 - s) (top - x_label + log_sum) + s (mean of (top - x) + log_sum)
//   dx_c = (e^(x_c - top - log_sum) - s / V - (1 - s) [c = label]) dloss / n
//
// A row is cut into parts of PART logits, a workgroup each, so that few rows fill a GPU too. Forward, each reads its logits once: an invocation
// keeps the largest so far and what depends on it, and moves these when a larger one comes. A second launch of one workgroup joins the parts and
// sums the rows, an invocation a row. Backward, dx may take the place of x. 4 bytes a logit forward, 8 backward: bound by memory.

struct Size {
    rows: u32,
    width: u32,
    // Workgroups of a row.
    parts: u32,
    // The label of rows that do not count.
    ignored: i32,
    smoothing: f32,
    // What a row becomes whose label is none.
    nan: f32,
}

// Of some logits of a row.
struct Part {
    top: f32,
    // Of e^(x - top).
    sum: f32,
    // Sum of top - x: small numbers where the logits are large.
    below: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
// The numbers of a Part one after another, in each the parts, in each the rows.
@group(0) @binding(1) var<storage, read_write> made: array<f32>;

@compute @workgroup_size(WIDTH)
fn cross_entropy_parts_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let index = row_of(group, groups);
    if index >= size.rows * size.parts {
        return;
    }
    let row = index / size.parts;
    let number = index % size.parts;
    let start = row * size.width;
    var part = Part(LOWEST, 0.0, 0.0);
    var count = 0.0;
    for (var i = number * PART + lane; i < min((number + 1u) * PART, size.width); i += WIDTH) {
        let v = x[start + i];
        if v > part.top {
            part = Part(v, part.sum * exp(part.top - v) + 1.0, part.below + count * (v - part.top));
        } else {
            part.sum += exp(v - part.top);
            part.below += part.top - v;
        }
        count += 1.0;
    }
    let top = group_max(part.top, lane);
    let sum = group_sum(part.sum * exp(part.top - top), lane);
    let below = group_sum(part.below + count * (top - part.top), lane);
    if lane == 0u {
        made[number * size.rows + row] = top;
        made[(size.parts + number) * size.rows + row] = sum;
        made[(2u * size.parts + number) * size.rows + row] = below;
    }
}

@group(0) @binding(2) var<storage, read> labels: array<i32>;
@group(0) @binding(3) var<storage, read> denominator: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> saved: array<f32>;

fn joined(row: u32) -> Part {
    var all = Part(LOWEST, 0.0, 0.0);
    for (var p = 0u; p < size.parts; p += 1u) {
        all.top = max(all.top, made[p * size.rows + row]);
    }
    for (var p = 0u; p < size.parts; p += 1u) {
        let top = made[p * size.rows + row];
        let count = f32(min(PART, size.width - p * PART));
        all.sum += made[(size.parts + p) * size.rows + row] * exp(top - all.top);
        all.below += made[(2u * size.parts + p) * size.rows + row] + count * (all.top - top);
    }
    return all;
}

fn is_class(label: i32) -> bool {
    return label >= 0 && u32(label) < size.width;
}

fn row_loss(row: u32) -> f32 {
    let all = joined(row);
    // One of the terms is 1.
    let log_sum = ln_1p(all.sum - 1.0);
    if SAVE {
        saved[2u * row] = all.top;
        saved[2u * row + 1u] = log_sum;
    }
    let label = labels[row];
    if label == size.ignored {
        return 0.0;
    }
    if !is_class(label) {
        return size.nan;
    }
    var own = (1.0 - size.smoothing) * (all.top - x[row * size.width + u32(label)] + log_sum);
    if size.smoothing > 0.0 {
        own += size.smoothing * (all.below / f32(size.width) + log_sum);
    }
    return own;
}

// 1 / n, or 0 where n is. All invocations must come here.
fn share(lane: u32) -> f32 {
    var n: f32;
    if GIVEN {
        n = denominator[0];
    } else {
        var counted = 0.0;
        for (var row = lane; row < size.rows; row += WIDTH) {
            counted += select(1.0, 0.0, labels[row] == size.ignored);
        }
        n = group_sum(counted, lane);
    }
    if n == 0.0 {
        return 0.0;
    }
    return 1.0 / n;
}

@compute @workgroup_size(WIDTH)
fn cross_entropy_forward_f32(@builtin(local_invocation_index) lane: u32) {
    var part = 0.0;
    for (var row = lane; row < size.rows; row += WIDTH) {
        part += row_loss(row);
    }
    let sum = group_sum(part, lane);
    let over_n = share(lane);
    if lane == 0u {
        loss[0] = sum * over_n;
    }
}

@group(0) @binding(0) var<storage, read> dloss: array<f32>;
// dloss / n
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;

@compute @workgroup_size(WIDTH)
fn cross_entropy_backward_scale_f32(@builtin(local_invocation_index) lane: u32) {
    let over_n = share(lane);
    if lane == 0u {
        scale[0] = dloss[0] * over_n;
    }
}

@group(0) @binding(3) var<storage, read> of_row: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WIDTH)
fn cross_entropy_backward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let index = row_of(group, groups);
    if index >= size.rows * size.parts {
        return;
    }
    let row = index / size.parts;
    let number = index % size.parts;
    let start = row * size.width;
    let label = labels[row];
    let top = of_row[2u * row];
    let log_sum = of_row[2u * row + 1u];
    let even = size.smoothing / f32(size.width);
    let factor = select(size.nan, scale[0], is_class(label));
    for (var i = number * PART + lane; i < min((number + 1u) * PART, size.width); i += WIDTH) {
        var d = 0.0;
        if label != size.ignored {
            var v: f32;
            if IN_PLACE {
                v = dx[start + i];
            } else {
                v = x[start + i];
            }
            d = (exp(v - top - log_sum) - even) * factor;
            if i == u32(label) {
                d -= (1.0 - size.smoothing) * factor;
            }
        }
        dx[start + i] = d;
    }
}
