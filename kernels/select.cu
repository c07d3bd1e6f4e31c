// One of two tensors, element by element: y = c != 0 ? a : b. Backward: da = c != 0 ? dy : 0 and db = c != 0 ? 0 : dy.
//
// A thread an element. Bound by memory.
#include "common/types.cuh"

// da or db is null where nobody wants it.
#define KERNELS(suffix, T)                                                                                                                            \
    extern "C" __global__ void __launch_bounds__(BLOCK) select_forward_##suffix(const int* condition, const T* a, const T* b, T* y, size_t n) {        \
        const size_t i = element();                                                                                                                   \
        if (i < n) y[i] = condition[i] != 0 ? a[i] : b[i];                                                                                            \
    }                                                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK) select_backward_##suffix(const int* condition, const T* dy, T* da, T* db, size_t n) {          \
        const size_t i = element();                                                                                                                   \
        if (i >= n) return;                                                                                                                           \
        const bool first = condition[i] != 0;                                                                                                         \
        if (da) da[i] = first ? dy[i] : Element<T>::of(0);                                                                                            \
        if (db) db[i] = first ? Element<T>::of(0) : dy[i];                                                                                            \
    }
FOR_EACH_TYPE(KERNELS)
