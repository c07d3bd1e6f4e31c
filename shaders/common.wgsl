// Put before every shader: what all of them share. A workgroup has WIDTH = 256 invocations, and everything keeps to WebGPU's least limits.
// The extents WIDTH and COLUMNS, which the host counts workgroups by, are lines put before this file.

// The lowest finite number: WGSL has no infinity to write down.
const LOWEST = -3.4028234e38;

// The number of an invocation in a grid whose first axis was too long for the device and wraps into the second.
fn flat(id: vec3u, groups: vec3u, width: u32) -> u32 {
    return id.x + id.y * groups.x * width;
}

// The number of a workgroup in such a grid: of its row, where each has one.
fn row_of(group: vec3u, groups: vec3u) -> u32 {
    return group.x + group.y * groups.x;
}

// Where reductions meet: a number of each invocation, or a pair.
var<workgroup> lanes: array<f32, WIDTH>;
var<workgroup> pairs: array<vec2u, WIDTH>;

const QUARTER = WIDTH / 4u;

// True where p is less: by its first number, among equals by its second.
fn is_less(p: vec2u, q: vec2u) -> bool {
    return p.x < q.x || (p.x == q.x && p.y < q.y);
}

// x P(x^2) / Q(x^2), clamped to |x| <= 4: the rational minimax approximation that XLA and Eigen use.
fn erf(number: f32) -> f32 {
    let x = clamp(number, -4.0, 4.0);
    let s = x * x;
    var p = -2.7261423e-10;
    p = p * s + 2.7706815e-8;
    p = p * s - 2.101024e-6;
    p = p * s - 5.6925065e-5;
    p = p * s - 7.3499064e-4;
    p = p * s - 2.9546e-3;
    p = p * s - 1.6096034e-2;
    var q = -1.4566072e-5;
    q = q * s - 2.1337405e-4;
    q = q * s - 1.682827e-3;
    q = q * s - 7.373329e-3;
    q = q * s - 1.426474e-2;
    return x * p / q;
}

// x Phi(x)
fn gelu(x: f32) -> f32 {
    return 0.5 * x * (1.0 + erf(x * 0.70710678));
}

// Phi(x) + x phi(x), phi the normal density: 1 / sqrt(2 pi) = 0.39894228
fn gelu_derivative(x: f32) -> f32 {
    return 0.5 * (1.0 + erf(x * 0.70710678)) + x * 0.39894228 * exp(-0.5 * x * x);
}

// NaN comes through: a broken step must not look whole.
fn relu(x: f32) -> f32 {
    return select(x, 0.0, x < 0.0);
}

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-x));
}

// Near zero by the odd polynomial of Cephes' tanhf, elsewhere 1 - 2 / (e^2x + 1): WGSL's own may overflow.
fn hyperbolic_tangent(x: f32) -> f32 {
    let a = abs(x);
    let s = a * a;
    var p = -5.7049887e-3;
    p = p * s + 2.063909e-2;
    p = p * s - 5.3739715e-2;
    p = p * s + 1.3331442e-1;
    p = p * s - 3.333328e-1;
    let large = 1.0 - 2.0 / (exp(min(2.0 * a, 80.0)) + 1.0);
    return sign(x) * select(large, a + a * s * p, a < 0.625);
}
