// The walk of common/gemm.wgsl by fours (common/gemm_blocks.wgsl), computed in f32 registers.
//
// An invocation has 4 x 4 sums in registers, twice as many rows where TALL and twice as many columns where WIDE. DOWN x ACROSS of them make a tile of C,
// 128 x 128 with 8 x 8 sums each, 64 x 64 with 4 x 4; smaller tiles have SLICES of DOWN x ACROSS invocations. A workgroup walks along K in strips of A and
// B that fill up to 16 KiB of workgroup memory; the next ones are on their way while it computes. For 64 multiply-adds of an 8 x 8 an invocation reads 4
// vectors from workgroup memory, for 16 of a 4 x 4 two. Numbers of A are read from memory N / columns of a tile times, those of B M / rows of a tile
// times. 2 M N K FLOPs; expected bound: arithmetic, from M, N, K of some 100 on.

// [k, row] and [k, column], each vector four neighbours; where in a line of k, `slot` says.
var<workgroup> strip_a: array<vec4f, STEP * ROWS>;
var<workgroup> strip_b: array<vec4f, max(STEP * COLUMNS_OF_TILE, WIDTH)>;

// Where the vector of `four` neighbours at k is in a strip that is `width` vectors wide. Blocks that lie along K are put down by invocations that are four k
// apart: these get different banks. All that read at once read at one k, where this is only another order.
fn slot(k: u32, four: u32, width: u32) -> u32 {
    return k * width + (four ^ (k / 4u * 2u % min(width, 8u)));
}

// Puts it down in its strip.
fn put_down(loader: Loader, block: mat4x4f) {
    if loader.is_a {
        strip_a[slot(loader.k, loader.four, ROWS)] = block[0];
        strip_a[slot(loader.k + 1u, loader.four, ROWS)] = block[1];
        strip_a[slot(loader.k + 2u, loader.four, ROWS)] = block[2];
        strip_a[slot(loader.k + 3u, loader.four, ROWS)] = block[3];
    } else if loader.is_b {
        strip_b[slot(loader.k, loader.four, COLUMNS_OF_TILE)] = block[0];
        strip_b[slot(loader.k + 1u, loader.four, COLUMNS_OF_TILE)] = block[1];
        strip_b[slot(loader.k + 2u, loader.four, COLUMNS_OF_TILE)] = block[2];
        strip_b[slot(loader.k + 3u, loader.four, COLUMNS_OF_TILE)] = block[3];
    }
}

// The products of each of four rows with four columns, a vector a row.
fn outer(rows: vec4f, columns: vec4f) -> mat4x4f {
    return mat4x4f(rows.x * columns, rows.y * columns, rows.z * columns, rows.w * columns);
}

// Four sums of a row, side by side.
fn keep_neighbours(task: Task, row: u32, column: u32, sums: vec4f) {
    if row < task.m {
        let begin = begin_of(task, row);
        keep(task, begin, column, sums.x);
        keep(task, begin, column + 1u, sums.y);
        keep(task, begin, column + 2u, sums.z);
        keep(task, begin, column + 3u, sums.w);
    }
}

fn keep_block(task: Task, row: u32, column: u32, sums: mat4x4f) {
    keep_neighbours(task, row, column, sums[0]);
    keep_neighbours(task, row + 1u, column, sums[1]);
    keep_neighbours(task, row + 2u, column, sums[2]);
    keep_neighbours(task, row + 3u, column, sums[3]);
}

fn gemm(lane: u32, group: vec3u, groups: vec3u) {
    let task = task_of(group, groups, 4u * ROWS, 4u * COLUMNS_OF_TILE);
    if task.row >= task.m {
        return;
    }
    let slice = select(lane / SLICE, 0u, SLICES == 1u);
    let r = lane % SLICE / ACROSS;
    let c = lane % ACROSS;
    // Upper left, upper right, lower left, lower right.
    var sums = mat4x4f();
    var sums_right = mat4x4f();
    var sums_below = mat4x4f();
    var sums_across = mat4x4f();
    let loader = loader_of(task, lane);
    var block = fetch(task, loader, task.start);
    for (var start = task.start; start < task.end; start += STEP) {
        put_down(loader, block);
        workgroupBarrier();
        // On its way while this strip is computed.
        block = fetch(task, loader, start + STEP);
        for (var turn = 0u; turn < STEP / SLICES; turn++) {
            let k = turn * SLICES + slice;
            let a = strip_a[slot(k, r, ROWS)];
            let b = strip_b[slot(k, c, COLUMNS_OF_TILE)];
            sums += outer(a, b);
            if WIDE {
                let b2 = strip_b[slot(k, c + ACROSS, COLUMNS_OF_TILE)];
                sums_right += outer(a, b2);
                if TALL {
                    sums_across += outer(strip_a[slot(k, r + DOWN, ROWS)], b2);
                }
            }
            if TALL {
                sums_below += outer(strip_a[slot(k, r + DOWN, ROWS)], b);
            }
        }
        workgroupBarrier();
    }
    if SLICES > 1u {
        sums = mat4x4f(over_slices(lane, sums[0]), over_slices(lane, sums[1]), over_slices(lane, sums[2]), over_slices(lane, sums[3]));
    }
    if slice > 0u {
        return;
    }
    let row = task.row + 4u * r;
    let column = task.column + 4u * c;
    keep_block(task, row, column, sums);
    if WIDE {
        keep_block(task, row, column + 4u * ACROSS, sums_right);
    }
    if TALL {
        keep_block(task, row + 4u * DOWN, column, sums_below);
    }
    if TALL && WIDE {
        keep_block(task, row + 4u * DOWN, column + 4u * ACROSS, sums_across);
    }
}
