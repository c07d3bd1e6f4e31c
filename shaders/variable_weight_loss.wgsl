// Cross-entropy that stresses hard samples, of logits x [B, C]: loss = 1/n sum over rows of w CE, with q = 1 - p_label and class weights a:
//
//   cross-entropy    w = a_label
//   variable weight  w = a_label (1 + lambda q^gamma)     constant in the backward pass
//   focal            w = a_label q^gamma                  differentiated
//   dx_c = (w (p_c - t_c) + CE dw/dx_c) dloss / n,        dq/dx_c = p_label (p_c - [c = label])
//
// q is summed over the other classes and CE made of it where the label is the likeliest: nothing cancels where p_label nears 1. Rows are short and
// few (256 of 8 classes), so one workgroup sums them, an invocation a row; backward is an invocation a row too, which computes the softmax again.
// Bound by the launch.

struct Size {
    rows: u32,
    width: u32,
    smoothing: f32,
    lambda: f32,
    gamma: f32,
    // What a row becomes whose label is none.
    nan: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read> class_weights: array<f32>;
@group(0) @binding(3) var<storage, read> denominator: array<f32>;

// What a row's loss and gradient are made of.
struct Sample {
    // max x
    top: f32,
    // Of e^(x - top).
    sum: f32,
    // 1 - p_label
    others: f32,
    cross_entropy: f32,
    weight: f32,
}

// q^gamma. The usual powers by themselves: `pow` goes through a logarithm, and 0^0 is not defined.
fn hardness(q: f32) -> f32 {
    if size.gamma == 0.0 {
        return 1.0;
    }
    if size.gamma == 1.0 {
        return q;
    }
    if size.gamma == 2.0 {
        return q * q;
    }
    if q <= 0.0 {
        return 0.0;
    }
    return pow(q, size.gamma);
}

fn sampled(start: u32, label: u32) -> Sample {
    var s: Sample;
    s.top = LOWEST;
    for (var c = 0u; c < size.width; c += 1u) {
        s.top = max(s.top, x[start + c]);
    }
    var rest = 0.0;
    var below = 0.0;
    for (var c = 0u; c < size.width; c += 1u) {
        let distance = s.top - x[start + c];
        below += distance;
        if c != label {
            rest += exp(-distance);
        }
    }
    let own = s.top - x[start + label];
    s.sum = exp(-own) + rest;
    s.others = rest / s.sum;
    let log_sum = ln_1p(select(s.sum - 1.0, rest, own == 0.0));
    s.cross_entropy = (1.0 - size.smoothing) * (own + log_sum) + size.smoothing * (below / f32(size.width) + log_sum);
    s.weight = 1.0;
    if VARIABLE {
        s.weight = 1.0 + size.lambda * hardness(s.others);
    }
    if FOCAL {
        s.weight = hardness(s.others);
    }
    if WEIGHTED {
        s.weight *= class_weights[label];
    }
    return s;
}

fn is_class(label: i32) -> bool {
    return label >= 0 && u32(label) < size.width;
}

// 1 / n, or 0 where n is.
fn share() -> f32 {
    var n = f32(size.rows);
    if GIVEN {
        n = denominator[0];
    }
    if n == 0.0 {
        return 0.0;
    }
    return 1.0 / n;
}

@group(0) @binding(4) var<storage, read_write> loss: array<f32>;

@compute @workgroup_size(WIDTH)
fn variable_weight_loss_forward_f32(@builtin(local_invocation_index) lane: u32) {
    var part = 0.0;
    for (var row = lane; row < size.rows; row += WIDTH) {
        let label = labels[row];
        if is_class(label) {
            let s = sampled(row * size.width, u32(label));
            part += s.weight * s.cross_entropy;
        } else {
            part = size.nan;
        }
    }
    let sum = group_sum(part, lane);
    if lane == 0u {
        loss[0] = sum * share();
    }
}

@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WIDTH)
fn variable_weight_loss_backward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = flat(id, groups, WIDTH);
    if row >= size.rows {
        return;
    }
    let start = row * size.width;
    let known = is_class(labels[row]);
    let label = select(0u, u32(labels[row]), known);
    let s = sampled(start, label);
    let factor = select(size.nan, dloss[0] * share(), known);
    let even = size.smoothing / f32(size.width);
    // dw/dx_c = w gamma dq/dx_c / q. Both ratios below are at most 1, and the weight falls to 0 with q.
    var slope = 0.0;
    if FOCAL {
        slope = s.weight * size.gamma * s.cross_entropy * (exp(x[start + label] - s.top) / s.sum);
    }
    for (var c = 0u; c < size.width; c += 1u) {
        let p = exp(x[start + c] - s.top) / s.sum;
        // Probability less what it should be.
        var excess = p - even;
        var ratio = 0.0;
        if s.others > 0.0 {
            ratio = p / s.others;
        }
        if c == label {
            excess = size.smoothing - even - s.others;
            ratio = select(0.0, -1.0, s.others > 0.0);
        }
        dx[start + c] = (s.weight * excess + slope * ratio) * factor;
    }
}
