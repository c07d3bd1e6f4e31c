// Activations, for the operators of their names and for epilogues.
#pragma once
#include "common/types.cuh"

// x Phi(x)
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1 + erff(x * 0.70710678f)); }

// Phi(x) + x phi(x), phi the normal density: 1 / sqrt(2 pi) = 0.39894228
__device__ __forceinline__ float gelu_derivative(float x) { return 0.5f * (1 + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x); }

// NaN comes through: a broken step must not look whole.
__device__ __forceinline__ float relu(float x) { return x < 0 ? 0 : x; }

__device__ __forceinline__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }
