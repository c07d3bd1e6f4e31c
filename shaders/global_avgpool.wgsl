// Mean over a picture, backward: dx = dy / pixels at each pixel. Forward is a sum of columns of each picture: reduce_leading.wgsl.
//
// A picture is a part: a workgroup writes 32 channels of its pixels, and each invocation reads its number once. 4 bytes an element, written:
// bound by memory.

@group(1) @binding(0) var<uniform> columns: Columns;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WIDTH)
fn global_avgpool_backward_f32(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let s = strip(columns, lane, group, groups);
    if !s.inside {
        return;
    }
    let each = dy[s.part * columns.width + s.column] / f32(columns.span);
    for (var row = s.row; row < s.end; row += DOWN) {
        dx[row * columns.width + s.column] = each;
    }
}
