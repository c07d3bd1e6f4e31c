// C = A B for a batch of A [M, K] and B [K, N]: put before the shaders that are matrix products. Their `size` begins with m, n, k, depth, batch, and they
// say where the numbers are. An address has a share of the row (or column), found once before the walk along K, and a share of k, found once a step:
//
//   alias Place                                     such a share; u32 where an address is their sum
//   fn extents(batch: u32) -> vec3u                 M, N, K of one product, none above those of `size`
//   fn a_row(batch: u32, row: u32) -> Place         asked within bounds only, as are the others
//   fn a_k(batch: u32, k: u32) -> Place
//   fn b_column(batch: u32, column: u32) -> Place
//   fn b_k(batch: u32, k: u32) -> Place
//   fn a_at(row: Place, k: Place) -> f32            an element of A
//   fn b_at(column: Place, k: Place) -> f32         an element of B
//   fn c_row(batch: u32, row: u32) -> u32           where a row of C begins
//   fn put(i: u32, column: u32, sum: f32)           what becomes of the sum at i = c_row + column
//
// `gemm`: an invocation has 4 x 4 sums in registers, and DOWN x ACROSS of them make a tile of C of 4 DOWN x 4 ACROSS: 64 x 64 takes all 256. Smaller
// tiles have SLICES of DOWN x ACROSS invocations, which take turns along K and are added up at the end. A workgroup walks along K in steps, each a strip
// of A and one of B in workgroup memory (at most 9 KiB). An invocation loads 4 numbers of either a step, and reads 8 from workgroup memory for 16
// multiply-adds. Numbers of A are read from memory N / (4 ACROSS) times, those of B M / (4 DOWN) times. The rows of an invocation are DOWN apart and its
// columns ACROSS, so that neighbours load and write beside each other, and yet the four are one vector in workgroup memory. `A_ALONG_K` and `B_ALONG_K`
// say in which direction a factor lies in memory. 2 M N K FLOPs; expected bound: arithmetic, from M, N, K of some 100 on.
//
// `gemv`: up to 4 rows. B is read once and by nobody else, so nothing passes through workgroup memory: 16 columns a workgroup, and 16 invocations a
// column, which take turns along K. Expected bound: memory, 4 N K bytes.
//
// Where there are few tiles and K is long, SPLIT cuts K into parts of `depth`, whose sums go to `parts`; `gemm_sum` adds them up in a second launch.
// Which of these it is depends on the extents alone (src/ops/support/product.rs), and every sum has its order: equal factors give equal bits.

// [batch, part, M, N]
@group(0) @binding(0) var<storage, read_write> parts: array<f32>;

const SLICE = DOWN * ACROSS;
const SLICES = WIDTH / SLICE;
const STEP = WIDTH / max(DOWN, ACROSS);
// In vectors: one more than there are, so that what lies below each other is in different banks.
const PITCH_A = DOWN + 1u;
const PITCH_B = ACROSS + 1u;
const GEMV_COLUMNS = 16u;

// [k, row] and [k, column], each vector the four of one invocation. The second serves for sums over invocations, too.
var<workgroup> strip_a: array<vec4f, STEP * PITCH_A>;
var<workgroup> strip_b: array<vec4f, max(STEP * PITCH_B, WIDTH)>;

// What a workgroup does: a tile of a part of a product.
struct Task {
    batch: u32,
    // Where the part begins in `parts`.
    part: u32,
    row: u32,
    column: u32,
    start: u32,
    end: u32,
    m: u32,
    n: u32,
}

// Tiles of a row lie beside each other, so that workgroups that run together share rows of A. One beyond the last has no rows and no k.
fn task_of(group: vec3u, groups: vec3u, rows: u32, columns: u32) -> Task {
    let across = (size.n + columns - 1u) / columns;
    let down = (size.m + rows - 1u) / rows;
    let count = select(1u, (size.k + size.depth - 1u) / size.depth, SPLIT);
    let number = row_of(group, groups);
    let part = number / (across * down);
    let batch = part / count;
    if batch >= size.batch {
        return Task();
    }
    let e = extents(batch);
    let start = part % count * size.depth;
    let end = select(e.z, min(e.z, start + size.depth), SPLIT);
    return Task(batch, part * size.m * size.n, number / across % down * rows, number % across * columns, start, end, e.x, e.y);
}

// Where a row of sums begins.
fn begin_of(task: Task, row: u32) -> u32 {
    if SPLIT {
        return task.part + row * size.n;
    }
    return c_row(task.batch, row);
}

fn keep(task: Task, begin: u32, column: u32, sum: f32) {
    if column < task.n {
        if SPLIT {
            parts[begin + column] = sum;
        } else {
            put(begin + column, column, sum);
        }
    }
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

// The sum over the slices. All invocations must come here.
fn over_slices(lane: u32, sum: vec4f) -> vec4f {
    if SLICES == 1u {
        return sum;
    }
    workgroupBarrier();
    strip_b[lane] = sum;
    workgroupBarrier();
    var whole = strip_b[lane % SLICE];
    for (var slice = 1u; slice < SLICES; slice++) {
        whole += strip_b[slice * SLICE + lane % SLICE];
    }
    return whole;
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
    let turns = WIDTH / GEMV_COLUMNS;
    let task = task_of(group, groups, 4u, GEMV_COLUMNS);
    if task.m == 0u {
        return;
    }
    let c = select(lane % GEMV_COLUMNS, lane / turns, B_ALONG_K);
    let turn = select(lane / GEMV_COLUMNS, lane % turns, B_ALONG_K);
    let column = b_column(task.batch, min(task.column + c, task.n - 1u));
    let a0 = a_row(task.batch, 0u);
    let a1 = a_row(task.batch, min(1u, task.m - 1u));
    let a2 = a_row(task.batch, min(2u, task.m - 1u));
    let a3 = a_row(task.batch, min(3u, task.m - 1u));
    var sums = vec4f();
    for (var k = task.start + turn; k < task.end; k += turns) {
        let b = b_at(column, b_k(task.batch, k));
        let at = a_k(task.batch, k);
        sums.x += a_at(a0, at) * b;
        if task.m > 1u {
            sums.y += a_at(a1, at) * b;
            sums.z += a_at(a2, at) * b;
            sums.w += a_at(a3, at) * b;
        }
    }
    let mine = turn * GEMV_COLUMNS + c;
    strip_b[mine] = sums;
    for (var half = turns / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if turn < half {
            strip_b[mine] += strip_b[mine + half * GEMV_COLUMNS];
        }
    }
    if turn == 0u {
        sums = strip_b[c];
        keep(task, begin_of(task, 0u), task.column + c, sums.x);
        if task.m > 1u {
            keep(task, begin_of(task, 1u), task.column + c, sums.y);
        }
        if task.m > 2u {
            keep(task, begin_of(task, 2u), task.column + c, sums.z);
        }
        if task.m > 3u {
            keep(task, begin_of(task, 3u), task.column + c, sums.w);
        }
    }
}

// Adds up the parts of the i-th sum of all.
fn gemm_sum(i: u32) {
    let count = (size.k + size.depth - 1u) / size.depth;
    let each = size.m * size.n;
    let batch = i / each;
    let row = i % each / size.n;
    let column = i % size.n;
    if batch < size.batch {
        let e = extents(batch);
        if row < e.x && column < e.y {
            var sum = 0.0;
            for (var part = 0u; part < count; part++) {
                sum += parts[(batch * count + part) * each + i % each];
            }
            put(c_row(batch, row) + column, column, sum);
        }
    }
}
