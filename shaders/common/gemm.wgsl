// C = A B for a batch of A [M, K] and B [K, N]: put before the shaders that are matrix products. Their `size` begins with m, n, k, depth, batch, and they
// say where the numbers are. An address has a share of the row (or column), found once before the walk along K, and a share of k, found once a step:
//
//   alias Place                                     such a share; u32 where an address is their sum
//   fn extents(batch: u32) -> vec3u                 M, N, K of one product, none above those of `size`
//   fn a_row(batch: u32, row: u32) -> Place         asked within bounds only, as are the others
//   fn a_k(batch: u32, k: u32) -> Place
//   fn b_column(batch: u32, column: u32) -> Place
//   fn b_k(batch: u32, k: u32) -> Place
//   fn a_index(row: Place, k: Place) -> u32         where an element of A is in `left`; NOWHERE, for 0, only with A_PADDED
//   fn b_index(column: Place, k: Place) -> u32      the same of B in `right`, with B_PADDED
//   const A_ALONG_K, B_ALONG_K                      in which direction a factor lies in memory: neighbours in k, or in rows (columns) of one k
//   fn c_row(batch: u32, row: u32) -> u32           where a row of C begins
//   fn put(i: u32, column: u32, sum: f32)           what becomes of the sum at i = c_row + column
//
// The walk itself is put after this file: `gemm_vectors` where both factors can be read four neighbours at a time, `gemm_matrices` where moreover the
// numbers are in half precision and the GPU multiplies small matrices at once, `gemm_scalars` for all others. Each has `gemm`, tiles of C by a workgroup,
// and `gemv`, for up to 4 rows.
//
// Where there are few tiles and K is long, SPLIT cuts K into parts of `depth`, whose sums go to `parts`; `gemm_sum` adds them up in a second launch.
// Which of these it is depends on the extents and the directions alone (src/ops/support/product.rs), and every sum has its order: equal factors give
// equal bits.

const NOWHERE = 0xffffffffu;

// [batch, part, M, N]
@group(0) @binding(0) var<storage, read_write> parts: array<f32>;

// Columns of a workgroup of `gemv`, and invocations that take turns along K at each.
const GEMV_COLUMNS = 16u;
const TURNS = WIDTH / GEMV_COLUMNS;

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

var<workgroup> shares: array<vec4f, WIDTH>;

// Sums of up to 4 rows of a column, of which each turn has a share. All invocations must come here.
fn keep_rows(task: Task, turn: u32, c: u32, share: vec4f) {
    let mine = turn * GEMV_COLUMNS + c;
    shares[mine] = share;
    for (var half = TURNS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if turn < half {
            shares[mine] += shares[mine + half * GEMV_COLUMNS];
        }
    }
    if turn == 0u {
        let sums = shares[c];
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
