// Convolution as a matrix product whose factors are never in memory (implicit GEMM, common/gemm.wgsl). x is [B, H, W, I], w is [O, KH, KW, I],
// y is [B, OH, OW, O]; pixel (oy, ox) of y meets pixel (oy s + ky - p, ox s + kx - p) of x at tap (ky, kx), and x outside the picture is 0.
//
//   PASS 0, forward           A = patches of x [B OH OW, KH KW I], B = w^T        y = act(A B + bias + residual), added to the sums in registers
//   PASS 1, backward_input    A = patches of dy [pixels, taps O],  B = w          dx = A B
//   PASS 2, backward_weight   A = dy^T [O, B OH OW], B = patches of x             dw = A B
//
// With stride s the pixels of x fall into s x s phases, each of which meets its own taps: ky = fy + a s with fy = (py + p) mod s for the phase's first
// row py. PASS 1 is a batch of products, a phase each, in which nothing is multiplied by zeros in between.
//
// A patch's number lies where its pixel's corner and its tap say: both are found outside the loop or once for four numbers, and what is left is a sum
// and whether it is in the picture (not asked without padding). Divisions: two for four numbers of a patch, none for a filter of 1 x 1. Four
// neighbours along the channels are in one pixel, so that one address serves them all.
// 2 B OH OW O KH KW I FLOPs each; expected bound: arithmetic, but memory for 1 x 1 filters of some 64 channels.

struct Size {
    m: u32,
    n: u32,
    k: u32,
    depth: u32,
    batch: u32,
    // Of x, of w and of y.
    pictures: u32,
    height: u32,
    width: u32,
    channels: u32,
    filters: u32,
    kernel_height: u32,
    kernel_width: u32,
    out_height: u32,
    out_width: u32,
    padding: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
// `left` is x, or dy; `right` is w, or x.
@group(0) @binding(3) var<storage, read_write> y: array<Real>;
@group(0) @binding(4) var<storage, read> bias: array<Real>;
@group(0) @binding(5) var<storage, read> residual: array<Real>;

// A share of an address, and of a row and a column of the picture. Those of a corner may be negative: they wrap, and sums wrap back.
alias Place = vec3u;

const A_ALONG_K = PASS != 2;
const B_ALONG_K = PASS == 0;
const A_PADDED = PASS != 2 && !INSIDE;
const B_PADDED = PASS == 2 && !INSIDE;

// The corner of the patch of x under a pixel of y.
fn corner(index: u32) -> Place {
    let row = index / size.out_width;
    let y0 = row % size.out_height * STRIDE - size.padding;
    let x0 = index % size.out_width * STRIDE - size.padding;
    return Place(((row / size.out_height * size.height + y0) * size.width + x0) * size.channels, y0, x0);
}

// A number of a patch of x, counted from its corner: [KH, KW, I].
fn tap(index: u32) -> Place {
    if ONE_TAP {
        return Place(index, 0u, 0u);
    }
    let at = index / size.channels;
    let ky = at / size.kernel_width;
    let kx = at % size.kernel_width;
    return Place((ky * size.width + kx) * size.channels + index % size.channels, ky, kx);
}

// One of the phases of x: its first row, or column, how many it has, the first tap that it meets, and how many it meets.
struct Phase {
    start: u32,
    count: u32,
    tap: u32,
    taps: u32,
}

fn phase_of(start: u32, extent: u32, kernel: u32) -> Phase {
    let tap = (start + size.padding) % STRIDE;
    return Phase(start, (max(extent, start) - start + STRIDE - 1u) / STRIDE, tap, (max(kernel, tap) - tap + STRIDE - 1u) / STRIDE);
}

fn rows_of(batch: u32) -> Phase {
    return phase_of(batch / STRIDE, size.height, size.kernel_height);
}

fn columns_of(batch: u32) -> Phase {
    return phase_of(batch % STRIDE, size.width, size.kernel_width);
}

// A pixel of a phase: picture, row, column.
fn pixel(rows: Phase, columns: Phase, index: u32) -> vec3u {
    let row = index / columns.count;
    return vec3u(row / rows.count, row % rows.count, index % columns.count);
}

fn extents(batch: u32) -> vec3u {
    if PASS != 1 {
        return vec3u(size.m, size.n, size.k);
    }
    let rows = rows_of(batch);
    let columns = columns_of(batch);
    return vec3u(size.pictures * rows.count * columns.count, size.n, rows.taps * columns.taps * size.filters);
}

fn a_row(batch: u32, row: u32) -> Place {
    if PASS == 0 {
        return corner(row);
    }
    if PASS == 2 {
        return Place(row, 0u, 0u);
    }
    // Above the first tap: the others lead back.
    let rows = rows_of(batch);
    let columns = columns_of(batch);
    let at = pixel(rows, columns, row);
    let y0 = at.y + (rows.start + size.padding) / STRIDE;
    let x0 = at.z + (columns.start + size.padding) / STRIDE;
    return Place(((at.x * size.out_height + y0) * size.out_width + x0) * size.filters, y0, x0);
}

fn a_k(batch: u32, k: u32) -> Place {
    if PASS == 0 {
        return tap(k);
    }
    if PASS == 2 {
        return Place(k * size.m, 0u, 0u);
    }
    if ONE_TAP {
        return Place(k, 0u, 0u);
    }
    let at = k / size.filters;
    let taps = columns_of(batch).taps;
    let back_y = at / taps;
    let back_x = at % taps;
    return Place(k % size.filters - (back_y * size.out_width + back_x) * size.filters, 0u - back_y, 0u - back_x);
}

fn b_column(batch: u32, column: u32) -> Place {
    if PASS == 0 {
        return Place(column * size.k, 0u, 0u);
    }
    if PASS == 1 {
        return Place(column, 0u, 0u);
    }
    return tap(column);
}

fn b_k(batch: u32, k: u32) -> Place {
    if PASS == 0 {
        return Place(k, 0u, 0u);
    }
    if PASS == 2 {
        return corner(k);
    }
    if ONE_TAP {
        return Place(k * size.n, 0u, 0u);
    }
    let at = k / size.filters;
    let columns = columns_of(batch);
    let ky = rows_of(batch).tap + at / columns.taps * STRIDE;
    let kx = columns.tap + at % columns.taps * STRIDE;
    return Place(((k % size.filters * size.kernel_height + ky) * size.kernel_width + kx) * size.n, 0u, 0u);
}

fn is_inside(a: Place, b: Place) -> bool {
    let height = select(size.height, size.out_height, PASS == 1);
    let width = select(size.width, size.out_width, PASS == 1);
    return a.y + b.y < height && a.z + b.z < width;
}

fn a_index(row: Place, k: Place) -> u32 {
    if A_PADDED && !is_inside(row, k) {
        return NOWHERE;
    }
    return row.x + k.x;
}

fn b_index(column: Place, k: Place) -> u32 {
    if B_PADDED && !is_inside(column, k) {
        return NOWHERE;
    }
    return column.x + k.x;
}

fn c_row(batch: u32, row: u32) -> u32 {
    if PASS != 1 {
        return row * size.n;
    }
    let rows = rows_of(batch);
    let columns = columns_of(batch);
    let at = pixel(rows, columns, row);
    return ((at.x * size.height + at.y * STRIDE + rows.start) * size.width + at.z * STRIDE + columns.start) * size.n;
}

fn put(i: u32, column: u32, sum: f32) {
    var v = sum;
    if BIAS {
        v += f32(bias[column]);
    }
    if RESIDUAL && IN_PLACE {
        v += f32(y[i]);
    } else if RESIDUAL {
        v += f32(residual[i]);
    }
    if RELU {
        v = relu(v);
    }
    y[i] = Real(v);
}

@compute @workgroup_size(WIDTH)
fn conv2d_product_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    gemm(lane, group, groups);
}

@compute @workgroup_size(WIDTH)
fn conv2d_product_rows_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    gemv(lane, group, groups);
}

@compute @workgroup_size(WIDTH)
fn conv2d_product_sum_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    gemm_sum(flat(id, groups, WIDTH));
}
