// A matrix seen as [rows, width], for kernels that have something to know or to sum of every column: put before them.
//
// A workgroup takes a block of COLUMNS = 32 columns of a part of the rows, its invocations 32 side by side and eight rows at once: neighbours read
// neighbours, whole cache lines of 128 bytes, and what belongs to a column is read once for all of an invocation's rows.

struct Columns {
    rows: u32,
    width: u32,
    // Rows of a part; the last may have fewer.
    span: u32,
    parts: u32,
}

// Invocations of a workgroup that share a column.
const DOWN = WIDTH / COLUMNS;

// What an invocation goes through: a column's rows from `row` on, each DOWN-th, up to `end`.
struct Strip {
    part: u32,
    column: u32,
    row: u32,
    end: u32,
    // False beyond the last column or part: no rows then.
    inside: bool,
}

fn strip(columns: Columns, lane: u32, group: vec3u, groups: vec3u) -> Strip {
    let n = row_of(group, groups);
    let blocks = (columns.width + COLUMNS - 1u) / COLUMNS;
    let part = n / blocks;
    let column = n % blocks * COLUMNS + lane % COLUMNS;
    let inside = part < columns.parts && column < columns.width;
    let end = min((part + 1u) * columns.span, columns.rows);
    return Strip(part, column, part * columns.span + lane / COLUMNS, select(0u, end, inside), inside);
}
