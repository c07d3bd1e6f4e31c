// What the optimizers share, put before each. One launch a parameter: an invocation takes SPAN elements that lie WIDTH apart, so that neighbours read
// neighbours and what depends on the step alone is computed once for them. The optimizer's own file says
//
//   struct Size { n: u32, group: u32, decay: f32, clip_norm: f32, ... }      decay: 0 for a parameter that does not
//   var<uniform> size: Size
//
// and binds the parameter, its moments and its gradient behind the step's control.

@group(0) @binding(0) var<storage, read> rates: array<f32>;
@group(0) @binding(1) var<storage, read> steps: array<i32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read> finite: array<i32>;

// What gradients are multiplied by, as by PyTorch's clip_grad_norm_.
fn clip() -> f32 {
    if CLIP {
        return min(size.clip_norm / (norm[0] + 1e-6), 1.0);
    }
    return 1.0;
}

// The first element of a workgroup.
fn span_start(group: vec3u, groups: vec3u) -> u32 {
    return (row_of(group, groups)) * WIDTH * SPAN;
}

// The element behind its last.
fn span_end(group: vec3u, groups: vec3u) -> u32 {
    return min(span_start(group, groups) + WIDTH * SPAN, size.n);
}
