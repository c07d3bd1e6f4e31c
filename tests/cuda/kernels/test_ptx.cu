// A kernel for each function of common/ptx.cuh: a warp that does nothing else. What goes in and out is words, as the registers or the bytes hold them.
#include "common/ptx.cuh"

// Lane l copies the first `size` of `bytes` from its place in x. All of y is 16 bytes a lane; what is not copied to stays all ones.
template <int bytes> __device__ __forceinline__ void copy(const int* x, int* y, unsigned size) {
    SHARED(to, int4[32]);
    to[threadIdx.x] = {-1, -1, -1, -1};
    cp_async<bytes>(&to[threadIdx.x], x + 4 * threadIdx.x, size);
    cp_async_commit();
    cp_async_wait<0>();
    reinterpret_cast<int4*>(y)[threadIdx.x] = to[threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(32) test_cp_async_4(const int* x, int* y, unsigned size) { copy<4>(x, y, size); }
extern "C" __global__ void __launch_bounds__(32) test_cp_async_8(const int* x, int* y, unsigned size) { copy<8>(x, y, size); }
extern "C" __global__ void __launch_bounds__(32) test_cp_async_16(const int* x, int* y, unsigned size) { copy<16>(x, y, size); }

// Three groups, the second of them empty; the first and the last are read in turn by the lane across.
extern "C" __global__ void __launch_bounds__(32) test_cp_async_groups(const int* x, int* y) {
    SHARED(to, int[2][32]);
    cp_async<4>(&to[0][threadIdx.x], x + threadIdx.x);
    cp_async_commit();
    cp_async_commit();
    cp_async<4>(&to[1][threadIdx.x], x + 32 + threadIdx.x);
    cp_async_commit();
    cp_async_wait<2>();
    __syncwarp();
    y[threadIdx.x] = to[0][31 - threadIdx.x];
    cp_async_wait<0>();
    __syncwarp();
    y[32 + threadIdx.x] = to[1][31 - threadIdx.x];
}

// x has 32 rows of eight numbers of 16 bits; lane l gives row (5 l + 3) % 32, so that matrices are of rows that lie apart.
template <int count, bool transposed> __device__ __forceinline__ void matrices(const int* x, int* y) {
    SHARED(rows, int4[32]);
    rows[threadIdx.x] = reinterpret_cast<const int4*>(x)[threadIdx.x];
    __syncwarp();
    unsigned r[count];
    ldmatrix<count, transposed>(r, &rows[(5 * threadIdx.x + 3) % 32]);
    for (int i = 0; i < count; i++) y[count * threadIdx.x + i] = r[i];
}
#define LDMATRIX(count)                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(32) test_ldmatrix_x##count(const int* x, int* y) { matrices<count, false>(x, y); }                  \
    extern "C" __global__ void __launch_bounds__(32) test_ldmatrix_x##count##_trans(const int* x, int* y) { matrices<count, true>(x, y); }
LDMATRIX(1) LDMATRIX(2) LDMATRIX(4)

// Registers of the lanes, one lane behind another: four of a, two of b, four sums of d, which is read and written.
template <class T> __device__ __forceinline__ void multiply_add(const int* a, const int* b, const float* c, float* d) {
    unsigned of_a[4], of_b[2];
    float sums[4];
    for (int i = 0; i < 4; i++) of_a[i] = a[4 * threadIdx.x + i], sums[i] = c[4 * threadIdx.x + i];
    for (int i = 0; i < 2; i++) of_b[i] = b[2 * threadIdx.x + i];
    mma_m16n8k16<T>(sums, of_a, of_b);
    for (int i = 0; i < 4; i++) d[4 * threadIdx.x + i] = sums[i];
}
#define MULTIPLY(suffix, T)                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(32) test_mma_m16n8k16_##suffix(const int* a, const int* b, const float* c, float* d) {              \
        multiply_add<T>(a, b, c, d);                                                                                                                \
    }
FOR_EACH_HALF(MULTIPLY)

// A lane makes a word of two numbers.
#define PACK(suffix, T)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(32) test_pack_##suffix(const float* x, int* y) {                         \
        y[threadIdx.x] = pack<T>(x[2 * threadIdx.x], x[2 * threadIdx.x + 1]);                                            \
    }
FOR_EACH_HALF(PACK)

// A lane rounds one number, and widens what it got.
#define CONVERT(suffix, T)                                                                                               \
    extern "C" __global__ void __launch_bounds__(32) test_convert_##suffix(const float* x, int* y) {                      \
        const T rounded = Element<T>::of(x[threadIdx.x]);                                                               \
        y[2 * threadIdx.x] = rounded.bits;                                                                              \
        y[2 * threadIdx.x + 1] = __float_as_int(to_float(rounded));                                                     \
    }
FOR_EACH_HALF(CONVERT)
