// The first tensor a kernel reads and the one it writes, whose buffer may be that of the first: put before kernels that work in place.

@group(0) @binding(0) var<storage, read> x: array<Real>;
@group(0) @binding(1) var<storage, read_write> y: array<Real>;

fn x_at(i: u32) -> f32 {
    if IN_PLACE {
        return f32(y[i]);
    }
    return f32(x[i]);
}
