// Running statistics, staged: staged = keep previous + take batch. The previous value is the running one in the first micro-step, and what was staged
// before in the others. One invocation a channel.

struct Size {
    n: u32,
    keep: f32,
    take: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read_write> staged: array<f32>;
@group(0) @binding(1) var<storage, read> running: array<f32>;
@group(0) @binding(2) var<storage, read> batch: array<f32>;
@group(0) @binding(3) var<storage, read> micro_step: array<i32>;

@compute @workgroup_size(WIDTH)
fn batchnorm_stage_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    var previous = staged[i];
    if micro_step[0] == 0 {
        previous = running[i];
    }
    staged[i] = size.keep * previous + size.take * batch[i];
}
