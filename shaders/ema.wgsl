// Moving average of a parameter: avg <- d avg + (1 - d) p with d = min(decay, t / (9 + t)), t the updates before this one, where the step was applied.
//
// One launch a pair, an invocation for SPAN elements that lie WIDTH apart, so that what depends on t is computed once for them. 12 bytes an element:
// bound by memory; for small parameters by the launch.

struct Size {
    n: u32,
    decay: f32,
    // 1 - decay, which in f32 would have lost its digits.
    forget: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> before: array<i32>;
@group(0) @binding(1) var<storage, read> finite: array<i32>;
@group(0) @binding(2) var<storage, read_write> average: array<f32>;
@group(0) @binding(3) var<storage, read> parameter: array<f32>;

@compute @workgroup_size(WIDTH)
fn ema_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if finite[0] == 0 {
        return;
    }
    let t = f32(max(before[0], 0));
    var keep = size.decay;
    var forget = size.forget;
    if 9.0 / (9.0 + t) > forget {
        keep = t / (9.0 + t);
        forget = 9.0 / (9.0 + t);
    }
    let first = (row_of(group, groups)) * WIDTH * SPAN;
    for (var i = first + lane; i < min(first + WIDTH * SPAN, size.n); i += WIDTH) {
        average[i] = keep * average[i] + forget * parameter[i];
    }
}
