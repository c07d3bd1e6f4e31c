// The norm of all gradients together, sqrt(sum of g^2), and whether all of them are finite.
//
// Sweeps as in common/sweep.wgsl: a workgroup takes BLOCK elements of a gradient and leaves in scratch memory what it found; a last launch of
// one workgroup joins that. Squares of f32 overflow and vanish, and there is no f64: numbers from 2^20 on are summed scaled down, the others scaled
// up, which is right from 2^-89 to the largest f32 for any count. What is not finite is told by its bits and kept out of the sums. 4 bytes an
// element: bound by memory.

struct Size {
    // Of all launches.
    blocks: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
// For each block the bits of two sums of scaled squares, and of the largest magnitude: one after another, in each the blocks.
@group(0) @binding(0) var<storage, read_write> found: array<u32>;
@group(0) @binding(2) var<storage, read> gradients: array<u32>;

const LARGE = 0x1p20;
const SCALE_DOWN = 0x1p-80;
const SCALE_UP = 0x1p26;
const INFINITY = 0x7f800000u;

struct Found {
    // Of the numbers from LARGE on, times SCALE_DOWN; of the others, times SCALE_UP.
    large: f32,
    small: f32,
    // Bits of magnitudes are in the order of the magnitudes, and NaN is above infinity.
    most: u32,
}

var<workgroup> mosts: array<u32, WIDTH>;

// The largest of the workgroup. All invocations must come here.
fn group_most(part: u32, lane: u32) -> u32 {
    mosts[lane] = part;
    for (var half = WIDTH / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            mosts[lane] = max(mosts[lane], mosts[lane + half]);
        }
    }
    let most = workgroupUniformLoad(&mosts[0]);
    return most;
}

fn joined(part: Found, lane: u32) -> Found {
    let large = group_sum(part.large, lane);
    let small = group_sum(part.small, lane);
    return Found(large, small, group_most(part.most, lane));
}

@compute @workgroup_size(WIDTH)
fn grad_norm_blocks_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let task = task_of(group, groups);
    let first = origin(task, 0u);
    var part = Found(0.0, 0.0, 0u);
    for (var i = task.start + lane; i < task.end; i += WIDTH) {
        let magnitude = gradients[first + i] & 0x7fffffffu;
        part.most = max(part.most, magnitude);
        let number = bitcast<f32>(select(magnitude, 0u, magnitude >= INFINITY));
        if number >= LARGE {
            let scaled = number * SCALE_DOWN;
            part.large += scaled * scaled;
        } else {
            let scaled = number * SCALE_UP;
            part.small += scaled * scaled;
        }
    }
    let whole = joined(part, lane);
    if lane == 0u && task.end > 0u {
        let at = block_of(task);
        found[at] = bitcast<u32>(whole.large);
        found[size.blocks + at] = bitcast<u32>(whole.small);
        found[2u * size.blocks + at] = whole.most;
    }
}

@group(0) @binding(1) var<storage, read_write> norm: array<u32>;
@group(0) @binding(2) var<storage, read_write> finite: array<i32>;

@compute @workgroup_size(WIDTH)
fn grad_norm_forward_f32(@builtin(local_invocation_index) lane: u32) {
    var part = Found(0.0, 0.0, 0u);
    for (var block = lane; block < size.blocks; block += WIDTH) {
        part.large += bitcast<f32>(found[block]);
        part.small += bitcast<f32>(found[size.blocks + block]);
        part.most = max(part.most, found[2u * size.blocks + block]);
    }
    let whole = joined(part, lane);
    if lane == 0u {
        // Both scaled down; of squares of numbers from LARGE on the root is at least 2^-60.
        let large = sqrt(whole.large);
        let small = sqrt(whole.small) / SCALE_UP;
        var bits = bitcast<u32>(small);
        if large > 0.0 {
            let ratio = small * SCALE_DOWN / large;
            let root = large * sqrt(1.0 + ratio * ratio);
            // The largest f32 and above.
            bits = select(bitcast<u32>(root / SCALE_DOWN), INFINITY, root >= 3.4028234e38 * SCALE_DOWN);
        }
        norm[0] = select(bits, whole.most, whole.most >= INFINITY);
        finite[0] = select(1, 0, whole.most >= INFINITY);
    }
}
