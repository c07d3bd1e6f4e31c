// A chain of element-wise operators in one pass: v = x; for each step v = step(v); y = v.
//
//   RELU, GELU, TANH, SIGMOID   v = f(v)
//   SCALE                       v = factor v
//   ADD, MUL                    v = v + r, v r      r's extents are the last of x's: element i meets element i mod |r|
//   MUL_ROWS                    v = v g[row]
//
// The chain lies in memory, the same for all threads, so its branches do not diverge. x is read and y written once, and each whole second
// operand; bound by memory. y may be x.
#include "common/activation.cuh"
#include "common/map.cuh"

// As src/ops/elementwise/cuda.rs lays it down.
#define STEPS 16
#define OPERANDS 6

struct Chain {
    // What to do; which second operand; its elements, or those of a row, or the bits of the factor.
    unsigned kind[STEPS], operand[STEPS], word[STEPS];
    unsigned steps;
};

enum { RELU, GELU, TANH, SIGMOID, SCALE, ADD, MUL, MUL_ROWS };

#define KERNELS(suffix, T)                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK) elementwise_forward_##suffix(const T* x, const T* r0, const T* r1, const T* r2, const T* r3, \
                                                                                     const T* r4, const T* r5, T* y, size_t n, const Chain* chain) { \
        const T* operands[OPERANDS] = {r0, r1, r2, r3, r4, r5};                                                                                     \
        map(x, y, n, [&](float v, size_t i) {                                                                                                       \
            for (unsigned k = 0; k < chain->steps; k++) {                                                                                           \
                const unsigned word = chain->word[k];                                                                                               \
                const T* r = operands[chain->operand[k]];                                                                                           \
                switch (chain->kind[k]) {                                                                                                           \
                    case RELU: v = relu(v); break;                                                                                                  \
                    case GELU: v = gelu(v); break;                                                                                                  \
                    case TANH: v = tanhf(v); break;                                                                                                 \
                    case SIGMOID: v = sigmoid(v); break;                                                                                            \
                    case SCALE: v = __uint_as_float(word) * v; break;                                                                               \
                    case ADD: v += to_float(r[i % word]); break;                                                                                    \
                    case MUL: v *= to_float(r[i % word]); break;                                                                                    \
                    default: v *= to_float(r[i / word]);                                                                                            \
                }                                                                                                                                   \
            }                                                                                                                                       \
            return v;                                                                                                                               \
        });                                                                                                                                         \
    }
FOR_EACH_TYPE(KERNELS)
