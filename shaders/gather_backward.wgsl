// The gradient of gather, and of embedding's table: dx[v] = sum of dy[n] over indices[n] = v.
//
// There are some thousand indices and many more rows, most of them without an index; and one index may be half of all, as what fills short sentences
// up is. Without atomics, in a few launches:
//
//   fill   zeros in dx: the floor, 4 bytes an element of dx.
//   sort   the indices are cut into runs of RUN. Each index counts those of its run before it, which is its place: RUN comparisons, 256 at a time in
//          workgroup memory. Leaves `sorted`, the indices in order, and `order`, where in dy each came from.
//   merge  WAYS neighbouring runs become one: an index finds by bisection how many of each other run stand before it. Again until one run is left,
//          so that N indices take log(N / RUN) / log(WAYS) launches, none where they are one run from the start.
//   runs   a workgroup takes `share` places of the sorted indices and 256 columns, and adds up dy along each run of equal indices. A run that begins
//          here goes to dx, the rest of one that began before to `heads`, a row for each share.
//   join   where a run goes on behind its share, the heads of the shares behind it are added, in their order.
//
// dy is read once, by neighbours along its rows. Every order depends on the indices alone, so that two runs are equal bit by bit.

struct Size {
    // Elements and rows of dx, elements of a row.
    n: u32,
    rows: u32,
    width: u32,
    // Indices.
    count: u32,
    // Shares of them, and the workgroups side by side that it takes to cover a row.
    shares: u32,
    across: u32,
    // Indices of a run that is merged.
    run: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> dy: array<Real>;
@group(0) @binding(1) var<storage, read_write> sorted: array<i32>;
@group(0) @binding(2) var<storage, read_write> order: array<u32>;
// [shares, width]
@group(0) @binding(3) var<storage, read_write> heads: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<Real>;

@group(0) @binding(0) var<storage, read_write> cleared: array<Real>;

@compute @workgroup_size(WIDTH)
fn gather_backward_fill_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    cleared[i] = Real(0.0);
}

@group(0) @binding(0) var<storage, read> indices: array<i32>;

var<workgroup> some: array<i32, WIDTH>;

@compute @workgroup_size(WIDTH)
fn gather_backward_sort_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    // RUN is a multiple of WIDTH: a workgroup's indices are of one run.
    let begin = row_of(group, groups) * WIDTH;
    let n = begin + lane;
    let first = begin / RUN * RUN;
    let end = min(first + RUN, size.count);
    var own = 0;
    if n < size.count {
        own = indices[n];
    }
    var place = first;
    for (var start = first; start < end; start += WIDTH) {
        if start + lane < end {
            some[lane] = indices[start + lane];
        }
        workgroupBarrier();
        for (var i = 0u; i < min(WIDTH, end - start); i++) {
            if some[i] < own || (some[i] == own && start + i < n) {
                place++;
            }
        }
        workgroupBarrier();
    }
    if n < size.count {
        sorted[place] = own;
        order[place] = n;
    }
}

@group(0) @binding(0) var<storage, read_write> runs: array<i32>;
@group(0) @binding(1) var<storage, read_write> runs_order: array<u32>;
@group(0) @binding(2) var<storage, read_write> merged: array<i32>;
@group(0) @binding(3) var<storage, read_write> merged_order: array<u32>;

// How many of the sorted indices first .. end come before `own`; of equal ones all do where they are `earlier`.
fn before(own: i32, first: u32, end: u32, earlier: bool) -> u32 {
    var low = first;
    var high = end;
    while low < high {
        let middle = (low + high) / 2u;
        if runs[middle] < own || (earlier && runs[middle] == own) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low - first;
}

@compute @workgroup_size(WIDTH)
fn gather_backward_merge_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let n = flat(id, groups, WIDTH);
    if n >= size.count {
        return;
    }
    let own = runs[n];
    let run = n / size.run * size.run;
    let first = n / (WAYS * size.run) * (WAYS * size.run);
    var place = first + n - run;
    for (var other = first; other < min(first + WAYS * size.run, size.count); other += size.run) {
        if other != run {
            place += before(own, other, min(other + size.run, size.count), other < run);
        }
    }
    merged[place] = own;
    merged_order[place] = runs_order[n];
}

var<workgroup> index: array<i32, SHARE>;
var<workgroup> row: array<u32, SHARE>;

@compute @workgroup_size(WIDTH)
fn gather_backward_runs_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let number = row_of(group, groups);
    if number >= size.shares * size.across {
        return;
    }
    let share = number / size.across;
    let column = number % size.across * WIDTH + lane;
    let start = share * SHARE;
    let count = min(SHARE, size.count - start);
    if lane < count {
        index[lane] = sorted[start + lane];
        row[lane] = order[start + lane];
    }
    workgroupBarrier();
    if column >= size.width {
        return;
    }
    var began_before = share > 0u && sorted[max(start, 1u) - 1u] == index[0];
    var sum = 0.0;
    for (var i = 0u; i < count; i++) {
        sum += f32(dy[row[i] * size.width + column]);
        if i + 1u == count || index[min(i + 1u, SHARE - 1u)] != index[i] {
            if began_before {
                heads[share * size.width + column] = sum;
            } else if u32(index[i]) < size.rows {
                // A negative index is a large one.
                dx[u32(index[i]) * size.width + column] = Real(sum);
            }
            began_before = false;
            sum = 0.0;
        }
    }
}

@compute @workgroup_size(WIDTH)
fn gather_backward_join_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let number = row_of(group, groups);
    let share = number / size.across;
    let column = number % size.across * WIDTH + lane;
    // The last share has none behind it.
    if share + 1u >= size.shares || column >= size.width {
        return;
    }
    let last = sorted[(share + 1u) * SHARE - 1u];
    let began_before = share > 0u && sorted[max(share * SHARE, 1u) - 1u] == last;
    if began_before || u32(last) >= size.rows {
        return;
    }
    var sum = 0.0;
    var behind = share + 1u;
    while behind < size.shares {
        if sorted[behind * SHARE] != last {
            break;
        }
        sum += heads[behind * size.width + column];
        behind++;
    }
    if behind > share + 1u {
        let at = u32(last) * size.width + column;
        dx[at] = Real(f32(dx[at]) + sum);
    }
}
