// Moving averages of parameters: avg <- d avg + (1 - d) p with d = min(decay, t / (9 + t)), t the updates before this one, where the step was applied.
//
// A sweep over all pairs, as in common/sweep.wgsl; what depends on t is computed once for BLOCK / WIDTH elements. 12 bytes an element: bound by memory.

struct Size {
    decay: f32,
    // 1 - decay, which in f32 would have lost its digits.
    forget: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> before: array<i32>;
@group(0) @binding(2) var<storage, read_write> average: array<f32>;
@group(0) @binding(3) var<storage, read> parameter: array<f32>;
@group(0) @binding(4) var<storage, read> finite: array<i32>;

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
    let task = task_of(group, groups);
    let average0 = origin(task, 0u);
    let parameter0 = origin(task, 1u);
    for (var i = task.start + lane; i < task.end; i += WIDTH) {
        average[average0 + i] = keep * average[average0 + i] + forget * parameter[parameter0 + i];
    }
}
