// Philox 4x32-10 (Salmon et al. 2011), bit for bit that of src/ops/support/philox.rs: random words that depend on nothing but their address.
#pragma once
#include "common/types.cuh"

struct Words {
    unsigned at[4];
};

// The four words of the elements from 4 `group` on; `rng` is [seed_lo, seed_hi, step, micro_step].
__device__ __forceinline__ Words philox(unsigned long long group, const int* rng, unsigned key_low, unsigned key_high) {
    unsigned words[4] = {(unsigned)group, (unsigned)(group >> 32), (unsigned)rng[2], (unsigned)rng[3]};
    unsigned key[2] = {(unsigned)rng[0] ^ key_low, (unsigned)rng[1] ^ key_high};
#pragma unroll 2
    for (int round = 0; round < 10; round++) {
        const unsigned high0 = __umulhi(0xd2511f53u, words[0]), high1 = __umulhi(0xcd9e8d57u, words[2]);
        const unsigned low0 = 0xd2511f53u * words[0], low1 = 0xcd9e8d57u * words[2];
        words[0] = high1 ^ words[1] ^ key[0], words[1] = low1;
        words[2] = high0 ^ words[3] ^ key[1], words[3] = low0;
        key[0] += 0x9e3779b9u, key[1] += 0xbb67ae85u;
    }
    return {{words[0], words[1], words[2], words[3]}};
}
