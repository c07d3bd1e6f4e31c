// Products of matrices, f32 sums, for any way in which the factors lie: the exact path, and the one for what tensor cores do not take.
//
// A block computes a tile of 64 x 64 of C for a part of K, its 256 threads 4 x 4 sums each, in strips of 16 of K that lie in shared memory: of 2 * 64 * 16
// numbers read for 64 * 64 * 16 multiply-adds, 8 multiply-adds a byte in f32. Where there are few tiles and K is long, parts of K have blocks of their own,
// leave their sums in memory, and a second launch adds them in their order. What is done with a sum is the operator's: it is done in registers. Who wants it gets
// moments of the columns of what was stored, from the tile that has them (not where K is cut: no block has a whole sum then).
#pragma once
#include "common/moments.cuh"
#include "common/overlap.cuh"

#define TILE 64
#define STRIP 16

// What the host lays down. `depth` of K a part.
struct Gemm {
    unsigned m, n, k, depth, parts, batch;
};

// What a block does: a tile of C of this size from a row and a column on, for a part of K, of one product.
struct Tile {
    unsigned row, column, start, end, part, batch;
};

// The one of this number among tiles of `high` x `wide`.
template <unsigned high, unsigned wide = high> __device__ __forceinline__ Tile tile_of(const Gemm& g, unsigned number = blockIdx.x) {
    const unsigned across = (g.n + wide - 1) / wide, down = (g.m + high - 1) / high;
    const unsigned part = number / across / down % g.parts, start = part * g.depth;
    return {number / across % down * high, number % across * wide, start, min(start + g.depth, g.k), part, number / across / down / g.parts};
}

// What becomes of a sum is the operator's, which may want to know something of its place first:
//   ahead(row, column)                     what it reads there, a number; Nothing, of most
//   put(batch, row, column, sum, ahead)    what it does then; it may leave in its reference to the sum what it stored
struct Nothing {};
template <class Ahead> constexpr bool is_something = true;
template <> constexpr bool is_something<Nothing> = false;
template <class Ahead> __device__ __forceinline__ Ahead kept(const float& number) {
    if constexpr (is_something<Ahead>) return number;
    else return {};
}

struct Spot {
    unsigned row, column;
};
__device__ __forceinline__ bool is_there(const Gemm& g, unsigned rows, Spot s) { return s.row < rows && s.column < g.n; }

// Asks for what is read ahead of `count` sums, of which spot(i) has the i-th: one wait for memory then, and not as many as there are sums, since what is stored holds back
// what is read behind it. Nowhere beyond the edge, which `rows` is of the rows.
template <unsigned count, class Put, class SpotOf, class Ahead>
__device__ __forceinline__ void read_ahead(const Gemm& g, unsigned rows, const Put& put, SpotOf spot, Ahead (&ahead)[count]) {
#pragma unroll
    for (unsigned i = 0; i < count; i++)
        if (is_there(g, rows, spot(i))) ahead[i] = put.ahead(spot(i).row, spot(i).column);
}

// Where a sum goes, which is one of a part of K, or all of it.
template <class Put, class Ahead>
__device__ __forceinline__ void put_sum(const Gemm& g, float* partials, const Tile& t, unsigned rows, const Put& put, Spot s, float& sum, Ahead ahead) {
    if (!is_there(g, rows, s)) return;
    if (g.parts > 1) {
        partials[(((size_t)t.batch * g.parts + t.part) * g.m + s.row) * g.n + s.column] = sum;
    } else {
        put(t.batch, s.row, s.column, sum, ahead);
    }
}

// The same of `count` sums of a thread.
template <unsigned count, class Put, class SpotOf, class Sum>
__device__ __forceinline__ void put_sums(const Gemm& g, float* partials, const Tile& t, unsigned rows, const Put& put, SpotOf spot, Sum sum) {
    decltype(put.ahead(0u, 0u)) ahead[count] = {};
    if (g.parts == 1) read_ahead(g, rows, put, spot, ahead);
#pragma unroll
    for (unsigned i = 0; i < count; i++) put_sum(g, partials, t, rows, put, spot(i), sum(i), ahead[i]);
}

// Where moments of what is put go; most do not want any. A put that does has an overload.
template <class Put> __device__ __forceinline__ float* moments_of(const Put&) { return nullptr; }

// Leaves those of a tile's columns, in parts. stored(row, column) of the tile lies in shared memory; all threads come here once they have put theirs there.
template <unsigned tile, class Stored> __device__ __forceinline__ void put_moments(const Gemm& g, const Tile& t, float* to, Stored stored) {
    __syncthreads();
    const unsigned column = threadIdx.x % tile, first = threadIdx.x / tile * PART_ROWS, row = t.row + first;
    if (first >= tile || row >= g.m || t.column + column >= g.n) return;
    float moments[3];
    take_moments(moments, min(g.m - row, PART_ROWS), [&](unsigned i) { return stored(first + i, column); });
    leave_moments(to, moments, row, t.column + column, g.n);
}

struct alignas(16) StoredTile {
    float rows[TILE][TILE];
};

// A row more than needed is skipped, lest a column lie in one bank.
struct alignas(16) Strips {
    float a[STRIP][TILE + 4], b[STRIP][TILE + 4];
};

// Adds to a thread's 4 x 4 sums the products of a strip.
__device__ __forceinline__ void multiply(const Strips& strips, unsigned row_of, unsigned column_of, float (&sums)[4][4]) {
#pragma unroll 8
    for (unsigned k = 0; k < STRIP; k++) {
        float of_a[4], of_b[4];
#pragma unroll
        for (int i = 0; i < 4; i++) of_a[i] = strips.a[k][row_of + i], of_b[i] = strips.b[k][column_of + i];
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sums[i][j] += of_a[i] * of_b[j];
    }
}

// A factor that is a function: number(batch, across, k), `across` being a row of A or a column of B. Others split what it takes to find an address: across() is
// asked once for all of K, along() once for what a thread reads of a strip's k.
template <class F> struct Direct {
    typedef unsigned Across;
    typedef unsigned Along;
    F number;
    __device__ __forceinline__ unsigned across(unsigned, unsigned index) const { return index; }
    __device__ __forceinline__ unsigned along(unsigned, unsigned k) const { return k; }
    __device__ __forceinline__ float at(unsigned batch, unsigned across, unsigned k) const { return number(batch, across, k); }
};

// What a thread reads of a factor: 4 numbers of each strip. Neighbours read along K where the factor says so.
template <bool along_k, class Factor> struct Reader {
    static constexpr unsigned EACH = TILE * STRIP / BLOCK, PLACES = along_k ? EACH : 1;
    Factor factor;
    unsigned batch, across0, limit;
    typename Factor::Across places[PLACES];

    __device__ __forceinline__ Reader(const Factor& factor, unsigned batch, unsigned across0, unsigned limit)
        : factor(factor), batch(batch), across0(across0), limit(limit) {
#pragma unroll
        for (unsigned n = 0; n < PLACES; n++) places[n] = factor.across(batch, across0 + place(n));
    }
    __device__ __forceinline__ unsigned place(unsigned n) const { return along_k ? threadIdx.x / STRIP + n * (BLOCK / STRIP) : threadIdx.x % TILE; }

    // Zeros beyond the limits.
    __device__ __forceinline__ void fill(float (&side)[STRIP][TILE + 4], unsigned k0, unsigned end) const {
        if (along_k) {
            const unsigned k = threadIdx.x % STRIP;
            const bool is_there = k0 + k < end;
            const typename Factor::Along along = factor.along(batch, k0 + k);
#pragma unroll
            for (unsigned n = 0; n < EACH; n++)
                side[k][place(n)] = is_there && across0 + place(n) < limit ? factor.at(batch, places[n % PLACES], along) : 0;
        } else {
            const bool is_there = across0 + place(0) < limit;
#pragma unroll
            for (unsigned n = 0; n < EACH; n++) {
                const unsigned k = threadIdx.x / TILE + n * (BLOCK / TILE);
                side[k][place(0)] = is_there && k0 + k < end ? factor.at(batch, places[0], factor.along(batch, k0 + k)) : 0;
            }
        }
    }
};

// The extents of one product, where those of a batch are not all alike: then the host's are the largest.
struct Alike {
    __device__ __forceinline__ unsigned rows(const Gemm& g, unsigned) const { return g.m; }
    __device__ __forceinline__ unsigned depth(const Gemm& g, unsigned) const { return g.k; }
};

// `put` takes the sums.
template <bool a_along_k, bool b_along_k, class A, class B, class Put, class Extents>
__device__ __forceinline__ void gemm_of(const Gemm& g, float* partials, const A& a, const B& b, Put put, Extents extents) {
    SHARED(strips, Strips);
    launch_wait(), launch_next();
    const Tile t = tile_of<TILE>(g);
    const unsigned rows = extents.rows(g, t.batch), end = min(t.end, extents.depth(g, t.batch));
    if (t.row >= rows) return;
    const unsigned row_of = threadIdx.x / 16 * 4, column_of = threadIdx.x % 16 * 4;
    const Reader<a_along_k, A> of_a(a, t.batch, t.row, rows);
    const Reader<b_along_k, B> of_b(b, t.batch, t.column, g.n);
    float sums[4][4] = {};
    for (unsigned k0 = t.start; k0 < end; k0 += STRIP) {
        of_a.fill(strips.a, k0, end);
        of_b.fill(strips.b, k0, end);
        __syncthreads();
        multiply(strips, row_of, column_of, sums);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        put_sums<4>(
            g, partials, t, rows, put, [&](unsigned j) { return Spot{t.row + row_of + i, t.column + column_of + j}; },
            [&](unsigned j) -> float& { return sums[i][j]; });
    if (float* const to = g.parts == 1 ? moments_of(put) : nullptr) {
        SHARED(stored, StoredTile);
#pragma unroll
        for (int i = 0; i < 4; i++)
            *reinterpret_cast<float4*>(&stored.rows[row_of + i][column_of]) = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        put_moments<TILE>(g, t, to, [&](unsigned row, unsigned column) { return stored.rows[row][column]; });
    }
}

// The same of factors that are functions: a(batch, row, k) and b(batch, k, column).
template <bool a_along_k, bool b_along_k, class A, class B, class Put> __device__ __forceinline__ void gemm(const Gemm& g, float* partials, A a, B b, Put put) {
    const auto b_across = [=](unsigned batch, unsigned column, unsigned k) { return b(batch, k, column); };
    gemm_of<a_along_k, b_along_k>(g, partials, Direct<A>{a}, Direct<decltype(b_across)>{b_across}, put, Alike());
}

// The second launch, a thread for each element of C.
template <class Put, class Extents = Alike> __device__ __forceinline__ void gemm_sum(const Gemm& g, const float* partials, Put put, Extents extents = Extents()) {
    launch_wait(), launch_next();
    const size_t each = (size_t)g.m * g.n, i = element();
    if (i >= g.batch * each) return;
    const size_t batch = i / each, within = i % each;
    if (within / g.n >= extents.rows(g, batch)) return;
    float sum = 0;
    for (unsigned part = 0; part < g.parts; part++) sum += partials[(batch * g.parts + part) * each + within];
    const unsigned row = within / g.n, column = within % g.n;
    put((unsigned)batch, row, column, sum, put.ahead(row, column));
}
