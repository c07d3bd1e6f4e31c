// The walk of common/gemm.wgsl by fours (common/gemm_blocks.wgsl), for numbers in half precision on GPUs whose subgroups multiply fragments, matrices of
// EDGE x EDGE numbers, at once (cooperative matrices): f16 by f16, summed in f32.
//
// Each of the SUBGROUPS_DOWN x SUBGROUPS_ACROSS subgroups of a workgroup has 2 x 2 fragments of C in its registers. A strip along K lies in workgroup memory in half
// precision, as many k as two blocks of every invocation give; a fragment of it is read for two multiplications. At the end a subgroup puts down one fragment of C at a time
// in workgroup memory, from where its invocations take single sums. Under 32 KiB of workgroup memory. 2 M N K FLOPs; expected bound: workgroup memory.

// [k, row] and [k, column]. What lies below each other is in different banks.
const PITCH_A = 4u * ROWS + 8u;
const PITCH_B = 4u * COLUMNS_OF_TILE + 8u;
const SUBGROUPS = SUBGROUPS_DOWN * SUBGROUPS_ACROSS;
const FRAGMENT = EDGE * EDGE;

var<workgroup> strip_a: array<f16, 2u * STEP * PITCH_A>;
var<workgroup> strip_b: array<f16, 2u * STEP * PITCH_B>;
var<workgroup> results: array<f32, SUBGROUPS * FRAGMENT>;
var<workgroup> leaders: array<u32, WIDTH>;

// How invocations make subgroups is the driver's business: each has a leader, its first invocation, and a number, by the order of the leaders.
fn number_of_subgroup(lane: u32, rank: u32, members: u32) -> u32 {
    let leader = subgroupMin(lane);
    leaders[lane] = select(0u, 1u, lane == leader);
    workgroupBarrier();
    var before = 0u;
    for (var i = rank; i < WIDTH; i += members) {
        before += select(0u, leaders[i], i < leader);
    }
    return subgroupAdd(before);
}

fn put_down(loader: Loader, more: u32, block: mat4x4f) {
    if loader.is_a {
        let at = (loader.k + more) * PITCH_A + 4u * loader.four;
        for (var k = 0u; k < 4u; k++) {
            let numbers = vec4<f16>(block[k]);
            strip_a[at + k * PITCH_A] = numbers.x;
            strip_a[at + k * PITCH_A + 1u] = numbers.y;
            strip_a[at + k * PITCH_A + 2u] = numbers.z;
            strip_a[at + k * PITCH_A + 3u] = numbers.w;
        }
    } else if loader.is_b {
        let at = (loader.k + more) * PITCH_B + 4u * loader.four;
        for (var k = 0u; k < 4u; k++) {
            let numbers = vec4<f16>(block[k]);
            strip_b[at + k * PITCH_B] = numbers.x;
            strip_b[at + k * PITCH_B + 1u] = numbers.y;
            strip_b[at + k * PITCH_B + 2u] = numbers.z;
            strip_b[at + k * PITCH_B + 3u] = numbers.w;
        }
    }
}

// The sums of a fragment that lies in `results`, by the invocations of its subgroup.
fn keep_fragment(task: Task, row: u32, column: u32, subgroup: u32, rank: u32, members: u32) {
    for (var i = rank; i < FRAGMENT; i += members) {
        let r = row + i / EDGE;
        if r < task.m {
            keep(task, begin_of(task, r), column + i % EDGE, results[subgroup * FRAGMENT + i]);
        }
    }
}

fn gemm(lane: u32, group: vec3u, groups: vec3u) {
    let task = task_of(group, groups, 4u * ROWS, 4u * COLUMNS_OF_TILE);
    // No way leads around the fragments: a tile beyond the last loads nothing and keeps nothing.
    let rank = subgroupExclusiveAdd(1u);
    let members = subgroupAdd(1u);
    let subgroup = number_of_subgroup(lane, rank, members);
    let down = subgroup / SUBGROUPS_ACROSS * 2u * EDGE;
    let across = subgroup % SUBGROUPS_ACROSS * 2u * EDGE;
    var sums = Sums();
    var sums_right = Sums();
    var sums_below = Sums();
    var sums_across = Sums();
    let loader = loader_of(task, lane);
    var block = fetch(task, loader, task.start);
    var block2 = fetch(task, loader, task.start + STEP);
    for (var start = task.start; start < task.end; start += 2u * STEP) {
        put_down(loader, 0u, block);
        put_down(loader, STEP, block2);
        workgroupBarrier();
        // On their way while this strip is computed.
        block = fetch(task, loader, start + 2u * STEP);
        block2 = fetch(task, loader, start + 3u * STEP);
        for (var k = 0u; k < 2u * STEP; k += EDGE) {
            // Of A a column lies side by side, of B a row. Addresses have names of their own: inline, naga 30 panics.
            let at_a = k * PITCH_A + down;
            let at_b = k * PITCH_B + across;
            let at_a2 = at_a + EDGE;
            let at_b2 = at_b + EDGE;
            let pitch_a = PITCH_A;
            let pitch_b = PITCH_B;
            let a = coopLoad<FragmentA>(&strip_a[at_a], pitch_a);
            let a2 = coopLoad<FragmentA>(&strip_a[at_a2], pitch_a);
            let b = coopLoadT<FragmentB>(&strip_b[at_b], pitch_b);
            let b2 = coopLoadT<FragmentB>(&strip_b[at_b2], pitch_b);
            sums = coopMultiplyAdd(a, b, sums);
            sums_right = coopMultiplyAdd(a, b2, sums_right);
            sums_below = coopMultiplyAdd(a2, b, sums_below);
            sums_across = coopMultiplyAdd(a2, b2, sums_across);
        }
        workgroupBarrier();
    }
    let at = subgroup * FRAGMENT;
    let edge = EDGE;
    let row = task.row + down;
    let column = task.column + across;
    coopStoreT(sums, &results[at], edge);
    workgroupBarrier();
    keep_fragment(task, row, column, subgroup, rank, members);
    workgroupBarrier();
    coopStoreT(sums_right, &results[at], edge);
    workgroupBarrier();
    keep_fragment(task, row, column + EDGE, subgroup, rank, members);
    workgroupBarrier();
    coopStoreT(sums_below, &results[at], edge);
    workgroupBarrier();
    keep_fragment(task, row + EDGE, column, subgroup, rank, members);
    workgroupBarrier();
    coopStoreT(sums_across, &results[at], edge);
    workgroupBarrier();
    keep_fragment(task, row + EDGE, column + EDGE, subgroup, rank, members);
}
