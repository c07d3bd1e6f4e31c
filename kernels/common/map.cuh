// Kernels that treat every element alike: a thread an element, neighbours beside neighbours.
#pragma once
#include "common/types.cuh"

// y_i = f(x_i, i); y may be x.
template <class T, class F> __device__ __forceinline__ void map(const T* x, T* y, size_t n, F f) {
    const size_t i = element();
    if (i < n) y[i] = Element<T>::of(f(to_float(x[i]), i));
}

// dx_i = dy_i derivative(saved_i); dx may be dy.
template <class T, class F> __device__ __forceinline__ void map_backward(const T* dy, const T* saved, T* dx, size_t n, F derivative) {
    const size_t i = element();
    if (i < n) dx[i] = Element<T>::of(to_float(dy[i]) * derivative(to_float(saved[i])));
}
