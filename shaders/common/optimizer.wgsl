// What the optimizers share, put before each, under common/sweep.wgsl. First a workgroup works out what depends on the step alone, once for all
// parameters; then a sweep goes through parameter, moments and gradient side by side. The notes are a parameter's group and its decay, 0 for one that
// does not. The optimizer's own file says
//
//   struct Size { rates: u32, clip_norm: f32, ... }      how many learning rates there are
//   var<uniform> size: Size
//
// and binds the parameters, their moments and their gradients behind the table.

@group(0) @binding(0) var<storage, read_write> control: array<f32>;
@group(0) @binding(1) var<storage, read> rates: array<f32>;
@group(0) @binding(2) var<storage, read> steps: array<i32>;
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<storage, read> finite: array<i32>;

// What stands where in control: whether the step is applied at all; what gradients are multiplied by; two numbers of the optimizer's own; the rates.
const APPLIED = 0u;
const CLIP_FACTOR = 1u;
const OWN = 2u;
const RATES = 4u;

fn write_control(lane: u32) {
    for (var i = lane; i < size.rates; i += WIDTH) {
        control[RATES + i] = rates[i];
    }
    if lane == 0u {
        control[APPLIED] = select(0.0, 1.0, finite[0] != 0);
        // As by PyTorch's clip_grad_norm_.
        control[CLIP_FACTOR] = 1.0;
        if CLIP {
            control[CLIP_FACTOR] = min(size.clip_norm / (norm[0] + 1e-6), 1.0);
        }
    }
}

fn rate(task: Task) -> f32 {
    return control[RATES + note(task, 0u)];
}

fn decay(task: Task) -> f32 {
    return bitcast<f32>(note(task, 1u));
}
