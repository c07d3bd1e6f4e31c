// Appends to a cache: cache[b, position + l] = new[b, l]; rows that would fall outside are dropped. The position is read on the device.
//
// A thread an element of what is new, in one launch for all of the batch; at a token a step the launch is the work.
#include "common/overlap.cuh"

// sequence: new elements of one sequence; width: of one row; rows: of the cache.
#define KERNELS(suffix, Word)                                                                                                                            \
    extern "C" __global__ void __launch_bounds__(BLOCK) kv_cache_forward_##suffix(Word* cache, const Word* added, const int* position, size_t n,          \
                                                                                  unsigned sequence, unsigned width, unsigned rows) {                    \
        launch_wait(), launch_next();                                                                                                                    \
        const size_t i = element();                                                                                                                      \
        if (i >= n) return;                                                                                                                              \
        const unsigned within = i % sequence;                                                                                                            \
        const long long row = (long long)position[0] + within / width;                                                                                   \
        if (row >= 0 && row < rows) cache[(i / sequence * rows + row) * width + within % width] = added[i];                                              \
    }
FOR_EACH_WORD(KERNELS)
