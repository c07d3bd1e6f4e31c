// A sum in which one tensor is repeated: y = x + r, where r's extents are the last extents of x; dr is the sum of dy over the others.
//
// Forward: one invocation an element, 8 bytes an element. Backward: as a sum over leading dimensions, 32 columns a workgroup.

struct Size {
    n: u32,
    // Elements of r.
    inner: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn broadcast_add_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    var v: f32;
    if IN_PLACE {
        v = y[i];
    } else {
        v = x[i];
    }
    y[i] = v + r[i % size.inner];
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dr: array<f32>;

@compute @workgroup_size(WIDTH)
fn broadcast_add_backward_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let column = (group.x + group.y * groups.x) * COLUMNS + lane % COLUMNS;
    var part = 0.0;
    if column < size.inner {
        for (var row = lane / COLUMNS; row < size.n / size.inner; row += WIDTH / COLUMNS) {
            part += dy[row * size.inner + column];
        }
    }
    let sum = column_sum(part, lane);
    if lane < COLUMNS && column < size.inner {
        dr[column] = sum;
    }
}
