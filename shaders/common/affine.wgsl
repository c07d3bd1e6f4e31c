// Batch normalisation as a map of each channel: z = (x - mean) scale + shift, then the activation. In one place, so that the backward pass, which
// computes z again to know where ReLU let it pass, finds the same numbers.

struct Affine {
    mean: f32,
    scale: f32,
    shift: f32,
}

fn mapped(x: f32, by: Affine) -> f32 {
    return (x - by.mean) * by.scale + by.shift;
}

fn activated(z: f32) -> f32 {
    return select(z, 0.0, RELU && z < 0.0);
}

// The gradient of z.
fn passed(dy: f32, x: f32, by: Affine) -> f32 {
    return select(0.0, dy, !RELU || mapped(x, by) > 0.0);
}
