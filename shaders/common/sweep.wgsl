// Many tensors in one launch, put before kernels that go through them element by element. The host lays down a table of what each workgroup does: how
// many workgroups there are, the row of each, and the rows: the first workgroup of a row, its elements, how many workgroups of all launches come before
// it, two notes of the kernel's own, and where in what is bound its SIDES tensors start.
//
// A workgroup takes BLOCK elements that lie side by side, each invocation those that lie WIDTH apart: neighbours read neighbours.

@group(0) @binding(1) var<storage, read> table: array<u32>;

const HEAD = 5u;

struct Task {
    // Where its row stands.
    row: u32,
    // Its number in its row.
    block: u32,
    // Elements: the first, and the one behind the last.
    start: u32,
    end: u32,
}

// The grid may have workgroups to spare; these have no elements.
fn task_of(group: vec3u, groups: vec3u) -> Task {
    let index = row_of(group, groups);
    let count = table[0];
    if index >= count {
        return Task(1u + count, 0u, 0u, 0u);
    }
    let row = 1u + count + table[1u + index] * (HEAD + SIDES);
    let block = index - table[row];
    return Task(row, block, block * BLOCK, min((block + 1u) * BLOCK, table[row + 1u]));
}

// Its number in all launches.
fn block_of(task: Task) -> u32 {
    return table[task.row + 2u] + task.block;
}

fn note(task: Task, which: u32) -> u32 {
    return table[task.row + 3u + which];
}

// Where a tensor starts.
fn origin(task: Task, side: u32) -> u32 {
    return table[task.row + HEAD + side];
}
