// Sums of columns, after common/columns.wgsl: put before shaders that need them. They say
//
//   fn term(row: u32, column: u32) -> vec3f                 what is summed: up to three numbers, of which WORDS are kept
//   fn put(part: u32, column: u32, sum: vec3f)              where a sum goes
//
// With MOMENTS, three numbers stand for a set of others: how many there are, their mean, and the sum of squared distances from it. Two sets are
// joined as in Chan, Golub and LeVeque 1979: nothing cancels, however far the mean is from 0, and each number is read once.
//
// A workgroup sums a block of columns of one part of the rows. One workgroup a block would leave a large GPU idle where columns are few, and a long
// chain of additions loses digits. So where there are several parts, their sums go to memory (STAGE 1), and a second launch joins those (STAGE 2).
// STAGE 0: each part is a result of its own. All sums are taken in an order that depends on the extents alone.

@group(0) @binding(0) var<storage, read_write> partials: array<f32>;

var<workgroup> strips: array<vec3f, WIDTH>;

fn join(a: vec3f, b: vec3f) -> vec3f {
    if !MOMENTS {
        return a + b;
    }
    let n = a.x + b.x;
    let part = b.x / max(n, 1.0);
    let step = b.y - a.y;
    return vec3f(n, a.y + step * part, a.z + b.z + step * step * a.x * part);
}

// In the first COLUMNS invocations: what those that share a column have, joined. All invocations must come here.
fn join_down(sum: vec3f, lane: u32) -> vec3f {
    strips[lane] = sum;
    workgroupBarrier();
    var whole = vec3f();
    if lane < COLUMNS {
        for (var i = lane; i < WIDTH; i += COLUMNS) {
            whole = join(whole, strips[i]);
        }
    }
    return whole;
}

// The sum over the rows of a strip, for the first COLUMNS invocations. Four rows at once, so that as many reads are under way.
fn sum_of_rows(s: Strip, lane: u32) -> vec3f {
    var sum = vec3f();
    var row = s.row;
    for (; row + 3u * DOWN < s.end; row += 4u * DOWN) {
        let a = join(term(row, s.column), term(row + DOWN, s.column));
        let b = join(term(row + 2u * DOWN, s.column), term(row + 3u * DOWN, s.column));
        sum = join(sum, join(a, b));
    }
    for (; row < s.end; row += DOWN) {
        sum = join(sum, term(row, s.column));
    }
    return join_down(sum, lane);
}

// The sum over the parts of a block of columns, for the first COLUMNS invocations.
fn sum_of_parts(columns: Columns, s: Strip, lane: u32) -> vec3f {
    var sum = vec3f();
    if s.inside {
        for (var part = lane / COLUMNS; part < columns.parts; part += DOWN) {
            var left = vec3f();
            for (var word = 0u; word < WORDS; word++) {
                left[word] = partials[(part * WORDS + word) * columns.width + s.column];
            }
            sum = join(sum, left);
        }
    }
    return join_down(sum, lane);
}

// The second launch, of one workgroup a block: it counts as the block's first part.
fn finish(columns: Columns, lane: u32, group: vec3u, groups: vec3u) {
    let s = strip(columns, lane, group, groups);
    let sum = sum_of_parts(columns, s, lane);
    if lane < COLUMNS && s.inside && s.part == 0u {
        put(0u, s.column, sum);
    }
}

fn leave(columns: Columns, s: Strip, sum: vec3f) {
    for (var word = 0u; word < WORDS; word++) {
        partials[(s.part * WORDS + word) * columns.width + s.column] = sum[word];
    }
}

fn sum_columns(columns: Columns, lane: u32, group: vec3u, groups: vec3u) {
    if STAGE == 2 {
        finish(columns, lane, group, groups);
        return;
    }
    let s = strip(columns, lane, group, groups);
    let sum = sum_of_rows(s, lane);
    if lane < COLUMNS && s.inside {
        if STAGE == 1 {
            leave(columns, s, sum);
        } else {
            put(s.part, s.column, sum);
        }
    }
}
