// Features of random patches on CPU, float32. Compiled by build.py, called by native.py; the plain
// torch counterpart is random_patches.PatchFeatures, and the tests compare the two.
//
// One register holds the responses of LANES patches at one place, so that a value of the series meets
// all their weights at once, and what is counted of a response never leaves the registers.
#include "vectors.h"

#include <cmath>

namespace {

constexpr long LEVELS = 3;
constexpr long TILE = 6;  // places at a time: each weight is loaded once for all of them

struct Counts {
    Ints above[LEVELS] = {};
    Floats top = Floats{} - INFINITY, size = {};
};

// Responses at `n` places from `x` on, x being rows of `length` values: counted and thrown away.
template <long n>
inline void count(const float* x, long rows, long length, long points, long stretch, const float* weight,
                  long patches, const Floats* level, Counts& found) {
    Floats y[n] = {};
    for (long c = 0; c < rows; ++c)
        for (long p = 0; p < points; ++p) {
            const Floats w = load(weight + (c * points + p) * patches);
            const float* at = x + c * length + p * stretch;
            for (long i = 0; i < n; ++i) y[i] += w * at[i];
        }
    for (long i = 0; i < n; ++i) {
        for (long l = 0; l < LEVELS; ++l) found.above[l] -= y[i] > level[l];
        found.top = y[i] > found.top ? y[i] : found.top;
        found.size += y[i] > -y[i] ? y[i] : -y[i];
    }
}

}  // namespace

extern "C" {

// x (B, C, T), already padded; weight (C, P, K) and level (LEVELS, K), K a multiple of 16. Of each case
// the first places[b] places count, at least one and at most T - (P - 1) stretch, or all if there is
// no `places`. out (B, LEVELS + 2, K): the shares above each level, the maximum, the mean of absolute
// values; rows of out are `stride` values apart.
int patch_features(long B, long C, long T, long P, long K, long stretch, const float* x,
                   const float* weight, const float* level, const int64_t* places, long stride,
                   float* out, int threads) {
    const long all = T - (P - 1) * stretch;
    return parallel(B, threads, [&](long b) {
        const float* rows = x + b * C * T;
        const long n = places ? places[b] : all;
        for (long k = 0; k < K; k += LANES) {
            Floats levels[LEVELS];
            for (long l = 0; l < LEVELS; ++l) levels[l] = load(level + l * K + k);
            Counts found;
            long t = 0;
            for (; t + TILE <= n; t += TILE)
                count<TILE>(rows + t, C, T, P, stretch, weight + k, K, levels, found);
            for (; t < n; ++t) count<1>(rows + t, C, T, P, stretch, weight + k, K, levels, found);
            float* mine = out + b * stride + k;
            const float share = 1.0f / static_cast<float>(n);
            for (long l = 0; l < LEVELS; ++l)
                store(mine + l * K, __builtin_convertvector(found.above[l], Floats) * share);
            store(mine + LEVELS * K, found.top);
            store(mine + (LEVELS + 1) * K, found.size * share);
        }
    });
}

}  // extern "C"
