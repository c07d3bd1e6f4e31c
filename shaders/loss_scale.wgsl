// The dynamic loss scale: halved where a gradient was not finite, doubled after `interval` finite steps in a row, within [1, 2^24].
//
// Three numbers, one invocation: bound by the launch.

struct Size {
    interval: i32,
    least: f32,
    most: f32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read_write> scale: array<f32>;
@group(0) @binding(1) var<storage, read_write> good: array<i32>;
@group(0) @binding(2) var<storage, read> finite: array<i32>;

@compute @workgroup_size(1)
fn loss_scale_forward_f32() {
    if finite[0] == 0 {
        good[0] = 0;
        scale[0] = clamp(0.5 * scale[0], size.least, size.most);
    } else if good[0] >= size.interval - 1 {
        good[0] = 0;
        scale[0] = clamp(2.0 * scale[0], size.least, size.most);
    } else {
        good[0] += 1;
    }
}
