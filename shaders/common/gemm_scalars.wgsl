// The walk of common/gemm.wgsl one number at a time: for extents that are no multiples of four.
//
// `gemm`: an invocation has 4 x 4 sums in registers, and DOWN x ACROSS of them make a tile of C of 4 DOWN x 4 ACROSS: 64 x 64 takes all 256. Smaller
// tiles have SLICES of DOWN x ACROSS invocations. A workgroup walks along K in steps, each a strip of A and one of B in workgroup memory (at most 9 KiB).
// An invocation loads 4 numbers of either a step, and reads 8 from workgroup memory for 16 multiply-adds. Numbers of A are read from memory
// N / (4 ACROSS) times, those of B M / (4 DOWN) times. The rows of an invocation are DOWN apart and its columns ACROSS, so that neighbours load and write
// beside each other, and yet the four are one vector in workgroup memory. 2 M N K FLOPs; expected bound: arithmetic and address sums.
//
// `gemv`: up to 4 rows. B is read once and by nobody else, so nothing passes through workgroup memory: 16 columns a workgroup, and 16 invocations a
// column, which take turns along K. Expected bound: memory, 4 N K bytes.

@group(0) @binding(1) var<storage, read> left: array<Real>;
@group(0) @binding(2) var<storage, read> right: array<Real>;

const STEP = WIDTH / max(DOWN, ACROSS);
// In vectors: one more than there are, so that what lies below each other is in different banks.
const PITCH_A = DOWN + 1u;
const PITCH_B = ACROSS + 1u;

// [k, row] and [k, column], each vector the four of one invocation. The second serves for sums over invocations, too.
var<workgroup> strip_a: array<vec4f, STEP * PITCH_A>;
var<workgroup> strip_b: array<vec4f, max(STEP * PITCH_B, WIDTH)>;

fn a_at(row: Place, k: Place) -> f32 {
    let i = a_index(row, k);
    if A_PADDED && i == NOWHERE {
        return 0.0;
    }
    return f32(left[i]);
}

fn b_at(column: Place, k: Place) -> f32 {
    let i = b_index(column, k);
    if B_PADDED && i == NOWHERE {
        return 0.0;
    }
    return f32(right[i]);
}

// Four sums of a row, ACROSS columns from each other.
fn keep_four(task: Task, row: u32, column: u32, sums: vec4f) {
    if row < task.m {
        let begin = begin_of(task, row);
        keep(task, begin, column, sums.x);
        keep(task, begin, column + ACROSS, sums.y);
        keep(task, begin, column + 2u * ACROSS, sums.z);
        keep(task, begin, column + 3u * ACROSS, sums.w);
    }
}

fn gemm(lane: u32, group: vec3u, groups: vec3u) {
    let task = task_of(group, groups, 4u * DOWN, 4u * ACROSS);
    if task.row >= task.m {
        return;
    }
    // What it loads: four rows of A at one k, four columns of B at one k. Those beyond the last are the last again; nobody asks for their sums.
    let a_i = select(lane % DOWN, lane / STEP, A_ALONG_K);
    let a_p = select(lane / DOWN, lane % STEP, A_ALONG_K);
    let b_i = select(lane % ACROSS, lane / STEP, B_ALONG_K);
    let b_p = select(lane / ACROSS, lane % STEP, B_ALONG_K);
    let row = task.row + a_i;
    let a0 = a_row(task.batch, min(row, task.m - 1u));
    let a1 = a_row(task.batch, min(row + DOWN, task.m - 1u));
    let a2 = a_row(task.batch, min(row + 2u * DOWN, task.m - 1u));
    let a3 = a_row(task.batch, min(row + 3u * DOWN, task.m - 1u));
    let column = task.column + b_i;
    let b0 = b_column(task.batch, min(column, task.n - 1u));
    let b1 = b_column(task.batch, min(column + ACROSS, task.n - 1u));
    let b2 = b_column(task.batch, min(column + 2u * ACROSS, task.n - 1u));
    let b3 = b_column(task.batch, min(column + 3u * ACROSS, task.n - 1u));
    // What it sums.
    let slice = select(lane / SLICE, 0u, SLICES == 1u);
    let r = lane % SLICE / ACROSS;
    let c = lane % ACROSS;
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    for (var start = task.start; start < task.end; start += STEP) {
        if lane < STEP * DOWN {
            var a = vec4f();
            if start + a_p < task.end {
                let k = a_k(task.batch, start + a_p);
                a = vec4f(a_at(a0, k), a_at(a1, k), a_at(a2, k), a_at(a3, k));
            }
            strip_a[a_p * PITCH_A + a_i] = a;
        }
        if lane < STEP * ACROSS {
            var b = vec4f();
            if start + b_p < task.end {
                let k = b_k(task.batch, start + b_p);
                b = vec4f(b_at(b0, k), b_at(b1, k), b_at(b2, k), b_at(b3, k));
            }
            strip_b[b_p * PITCH_B + b_i] = b;
        }
        workgroupBarrier();
        for (var turn = 0u; turn < STEP / SLICES; turn++) {
            let p = turn * SLICES + slice;
            let a = strip_a[p * PITCH_A + r];
            let b = strip_b[p * PITCH_B + c];
            sums0 += a.x * b;
            sums1 += a.y * b;
            sums2 += a.z * b;
            sums3 += a.w * b;
        }
        workgroupBarrier();
    }
    sums0 = over_slices(lane, sums0);
    sums1 = over_slices(lane, sums1);
    sums2 = over_slices(lane, sums2);
    sums3 = over_slices(lane, sums3);
    if slice == 0u {
        keep_four(task, task.row + r, task.column + c, sums0);
        keep_four(task, task.row + r + DOWN, task.column + c, sums1);
        keep_four(task, task.row + r + 2u * DOWN, task.column + c, sums2);
        keep_four(task, task.row + r + 3u * DOWN, task.column + c, sums3);
    }
}

fn gemv(lane: u32, group: vec3u, groups: vec3u) {
    let task = task_of(group, groups, 4u, GEMV_COLUMNS);
    if task.m == 0u {
        return;
    }
    let c = select(lane % GEMV_COLUMNS, lane / TURNS, B_ALONG_K);
    let turn = select(lane / GEMV_COLUMNS, lane % TURNS, B_ALONG_K);
    let column = b_column(task.batch, min(task.column + c, task.n - 1u));
    let a0 = a_row(task.batch, 0u);
    let a1 = a_row(task.batch, min(1u, task.m - 1u));
    let a2 = a_row(task.batch, min(2u, task.m - 1u));
    let a3 = a_row(task.batch, min(3u, task.m - 1u));
    var sums = vec4f();
    for (var k = task.start + turn; k < task.end; k += TURNS) {
        let b = b_at(column, b_k(task.batch, k));
        let at = a_k(task.batch, k);
        sums.x += a_at(a0, at) * b;
        if task.m > 1u {
            sums.y += a_at(a1, at) * b;
            sums.z += a_at(a2, at) * b;
            sums.w += a_at(a3, at) * b;
        }
    }
    keep_rows(task, turn, c, sums);
}
