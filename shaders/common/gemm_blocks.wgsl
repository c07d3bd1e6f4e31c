// How common/gemm.wgsl's factors are read four neighbours at a time: where each factor's extent in the direction in which it lies in memory (K, or rows and
// columns) is a multiple of four, and so is the number of channels of a picture. Put before `gemm_vectors` and `gemm_matrices`, which compute on it.
//
// A strip of a factor consists of blocks of 4 x 4 numbers. An invocation loads one block by four loads of 16 bytes (8 in half precision), turned over in
// registers where the factor lies along K: a block is a vector of four rows, or columns, for each of four k.
//
// `gemv`: up to 4 rows, both factors along K: 16 columns a workgroup, and 16 invocations a column, which take turns along K by four. B is read once and by
// nobody else. Expected bound: memory, 4 N K bytes.

@group(0) @binding(1) var<storage, read> left: array<vec4<Real>>;
@group(0) @binding(2) var<storage, read> right: array<vec4<Real>>;

// In fours: rows and columns of a tile, and k of a strip.
const ROWS = select(DOWN, 2u * DOWN, TALL);
const COLUMNS_OF_TILE = select(ACROSS, 2u * ACROSS, WIDE);
const FOURS = STEP / 4u;
// Blocks of a strip.
const BLOCKS_A = ROWS * FOURS;
const BLOCKS_B = COLUMNS_OF_TILE * FOURS;

fn a_four(row: Place, k: Place) -> vec4f {
    let i = a_index(row, k);
    if A_PADDED && i == NOWHERE {
        return vec4f();
    }
    return vec4f(left[i / 4u]);
}

fn b_four(column: Place, k: Place) -> vec4f {
    let i = b_index(column, k);
    if B_PADDED && i == NOWHERE {
        return vec4f();
    }
    return vec4f(right[i / 4u]);
}

// Which block of a strip an invocation loads, if any: of A or of B, which four k, and which four rows or columns, with their places: of each where the
// factor lies along K, else of the first.
struct Loader {
    is_a: bool,
    is_b: bool,
    k: u32,
    four: u32,
    place0: Place,
    place1: Place,
    place2: Place,
    place3: Place,
}

// Rows and columns beyond the last are the last again: nobody asks for their sums. For a tile beyond the last nothing is loaded.
fn loader_of(task: Task, lane: u32) -> Loader {
    var loader = Loader();
    if task.row >= task.m {
        return loader;
    }
    if lane < BLOCKS_A {
        loader.is_a = true;
        loader.k = 4u * select(lane / ROWS, lane % FOURS, A_ALONG_K);
        loader.four = select(lane % ROWS, lane / FOURS, A_ALONG_K);
        let row = task.row + 4u * loader.four;
        if A_ALONG_K {
            loader.place0 = a_row(task.batch, min(row, task.m - 1u));
            loader.place1 = a_row(task.batch, min(row + 1u, task.m - 1u));
            loader.place2 = a_row(task.batch, min(row + 2u, task.m - 1u));
            loader.place3 = a_row(task.batch, min(row + 3u, task.m - 1u));
        } else {
            loader.place0 = a_row(task.batch, min(row, task.m - 4u));
        }
    } else if lane < BLOCKS_A + BLOCKS_B {
        let block = lane - BLOCKS_A;
        loader.is_b = true;
        loader.k = 4u * select(block / COLUMNS_OF_TILE, block % FOURS, B_ALONG_K);
        loader.four = select(block % COLUMNS_OF_TILE, block / FOURS, B_ALONG_K);
        let column = task.column + 4u * loader.four;
        if B_ALONG_K {
            loader.place0 = b_column(task.batch, min(column, task.n - 1u));
            loader.place1 = b_column(task.batch, min(column + 1u, task.n - 1u));
            loader.place2 = b_column(task.batch, min(column + 2u, task.n - 1u));
            loader.place3 = b_column(task.batch, min(column + 3u, task.n - 1u));
        } else {
            loader.place0 = b_column(task.batch, min(column, task.n - 4u));
        }
    }
    return loader;
}

// The four rows at one k; 0 beyond the end.
fn a_rows(task: Task, loader: Loader, k: u32) -> vec4f {
    if k < task.end {
        return a_four(loader.place0, a_k(task.batch, k));
    }
    return vec4f();
}

fn b_columns(task: Task, loader: Loader, k: u32) -> vec4f {
    if k < task.end {
        return b_four(loader.place0, b_k(task.batch, k));
    }
    return vec4f();
}

// An invocation's block of the strips that begin at `start`: a vector of four rows, or columns, for each of four k.
fn fetch(task: Task, loader: Loader, start: u32) -> mat4x4f {
    let k = start + loader.k;
    if k >= task.end {
        return mat4x4f();
    }
    if loader.is_a {
        if A_ALONG_K {
            let at = a_k(task.batch, k);
            return transpose(mat4x4f(a_four(loader.place0, at), a_four(loader.place1, at), a_four(loader.place2, at), a_four(loader.place3, at)));
        }
        return mat4x4f(a_rows(task, loader, k), a_rows(task, loader, k + 1u), a_rows(task, loader, k + 2u), a_rows(task, loader, k + 3u));
    }
    if loader.is_b {
        if B_ALONG_K {
            let at = b_k(task.batch, k);
            return transpose(mat4x4f(b_four(loader.place0, at), b_four(loader.place1, at), b_four(loader.place2, at), b_four(loader.place3, at)));
        }
        return mat4x4f(b_columns(task, loader, k), b_columns(task, loader, k + 1u), b_columns(task, loader, k + 2u), b_columns(task, loader, k + 3u));
    }
    return mat4x4f();
}

fn gemv(lane: u32, group: vec3u, groups: vec3u) {
    let task = task_of(group, groups, 4u, GEMV_COLUMNS);
    if task.m == 0u {
        return;
    }
    let c = lane / TURNS;
    let turn = lane % TURNS;
    let column = b_column(task.batch, min(task.column + c, task.n - 1u));
    let a0 = a_row(task.batch, 0u);
    let a1 = a_row(task.batch, min(1u, task.m - 1u));
    let a2 = a_row(task.batch, min(2u, task.m - 1u));
    let a3 = a_row(task.batch, min(3u, task.m - 1u));
    var sums = vec4f();
    for (var k = task.start + 4u * turn; k < task.end; k += 4u * TURNS) {
        let b = b_four(column, b_k(task.batch, k));
        let at = a_k(task.batch, k);
        sums.x += dot(a_four(a0, at), b);
        if task.m > 1u {
            sums.y += dot(a_four(a1, at), b);
            sums.z += dot(a_four(a2, at), b);
            sums.w += dot(a_four(a3, at), b);
        }
    }
    keep_rows(task, turn, c, sums);
}
