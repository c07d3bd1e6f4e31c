// A chain of element-wise operators in one pass: v = x; for each step v = step(v); y = v.
//
//   RELU, GELU, TANH, SIGMOID   v = f(v)
//   SCALE                       v = factor v
//   ADD, MUL                    v = v + r, v r      r's extents are the last of x's: element i meets element i mod |r|
//   MUL_ROWS                    v = v g[row]
//
// The chain is written in constants, so that a driver unrolls it into straight code: KINDS, STEPS of them, and OPERANDS, the number of each step's
// second operand; what else a step needs is its word of the parameters. One invocation an element: x read and y written once, 8 bytes an element and
// 4 for each whole second operand; bound by memory.

struct Size {
    n: u32,
    // Of each step: the elements of r, or of a row, or the bits of the factor.
    words: array<vec4u, 4>,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(2) var<storage, read> r0: array<Real>;
@group(0) @binding(3) var<storage, read> r1: array<Real>;
@group(0) @binding(4) var<storage, read> r2: array<Real>;
@group(0) @binding(5) var<storage, read> r3: array<Real>;
@group(0) @binding(6) var<storage, read> r4: array<Real>;
@group(0) @binding(7) var<storage, read> r5: array<Real>;

const RELU = 0u;
const GELU = 1u;
const TANH = 2u;
const SIGMOID = 3u;
const SCALE = 4u;
const ADD = 5u;
const MUL = 6u;
const MUL_ROWS = 7u;

fn operand(number: u32, i: u32) -> f32 {
    switch number {
        case 0u: { return f32(r0[i]); }
        case 1u: { return f32(r1[i]); }
        case 2u: { return f32(r2[i]); }
        case 3u: { return f32(r3[i]); }
        case 4u: { return f32(r4[i]); }
        default: { return f32(r5[i]); }
    }
}

fn step_of(kind: u32, number: u32, word: u32, i: u32, v: f32) -> f32 {
    switch kind {
        case RELU: { return relu(v); }
        case GELU: { return gelu(v); }
        case TANH: { return hyperbolic_tangent(v); }
        case SIGMOID: { return sigmoid(v); }
        case SCALE: { return bitcast<f32>(word) * v; }
        case ADD: { return v + operand(number, i % word); }
        case MUL: { return v * operand(number, i % word); }
        default: { return v * operand(number, i / word); }
    }
}

fn value(of_x: f32, i: u32) -> f32 {
    var v = of_x;
    var kinds = KINDS;
    var operands = OPERANDS;
    for (var k = 0u; k < STEPS; k++) {
        v = step_of(kinds[k], operands[k], size.words[k / 4u][k % 4u], i, v);
    }
    return v;
}

@compute @workgroup_size(WIDTH)
fn elementwise_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map(id, groups);
}
