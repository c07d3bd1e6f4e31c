// Kernels that treat every element alike: a thread four neighbours, a launch a thread for each four (`Dispatch::over_fours`).
#pragma once
#include "common/fours.cuh"

// y_i = f(x_i, i); y may be x.
template <class X, class Y, class F> __device__ __forceinline__ void map(const X* x, Y* y, size_t n, F f) {
    const size_t from = 4 * element();
    if (from + 4 <= n) {
        float four[4];
        load_four(x + from, four);
#pragma unroll
        for (unsigned k = 0; k < 4; k++) four[k] = f(four[k], from + k);
        store_four(y + from, four);
        return;
    }
    for (size_t i = from; i < n; i++) y[i] = Element<Y>::of(f(to_float(x[i]), i));
}

// y_i = f(a_i, b_i); y may be either.
template <class A, class B, class Y, class F> __device__ __forceinline__ void map_both(const A* a, const B* b, Y* y, size_t n, F f) {
    const size_t from = 4 * element();
    if (from + 4 <= n) {
        float of_a[4], of_b[4];
        load_four(a + from, of_a);
        load_four(b + from, of_b);
#pragma unroll
        for (unsigned k = 0; k < 4; k++) of_a[k] = f(of_a[k], of_b[k]);
        store_four(y + from, of_a);
        return;
    }
    for (size_t i = from; i < n; i++) y[i] = Element<Y>::of(f(to_float(a[i]), to_float(b[i])));
}

// dx_i = dy_i derivative(saved_i); dx may be dy.
template <class T, class F> __device__ __forceinline__ void map_backward(const T* dy, const T* saved, T* dx, size_t n, F derivative) {
    map_both(dy, saved, dx, n, [=](float dy, float saved) { return dy * derivative(saved); });
}
