// The encoder in its inference form on CPU, float32: all blocks in one pass. Built at first use by
// native.py; its plain torch twin is inference.FusedBlock, and the tests compare the two.
//
// Without batch statistics no series waits for another. So a group of G series goes through every
// block before the next group starts, and its tokens never leave the core's cache. Inside a group
// they lie (D, N, G): one step along N is G values, so a convolution along N is one along a line of
// N x G values with step G, and every vector is full.

#include <algorithm>
#include <optional>
#include <vector>

#include "vectors.h"

namespace {

// One tile of a matrix product stays in registers: ROWS x V vectors.
#ifdef __AVX512F__
constexpr int ROWS = 8, VECTORS = 3;
#else
constexpr int ROWS = 6, VECTORS = 1;
#endif
constexpr long HIDDEN = 128;  // hidden values of a token at a time: they stay in the nearest cache
constexpr int SHARED = 4;     // vectors that share a tap of the convolution

struct Block {  // as native.py fills it
    long k;
    const float *kernel, *bias, *s1, *c1, *t1, *widen, *widen_bias, *s2, *narrow, *narrow_bias;
};

// sum += a b for ROWS rows of a, a row apart by `row`, and V vectors of each row of b.
template <int V>
inline void multiply(const float* a, long row, const float* b, long width, long K,
                     Floats (&sum)[ROWS][V]) {
    for (long k = 0; k < K; ++k) {
        Floats x[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) x[v] = load(b + k * width + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const float y = a[r * row + k];
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sum[r][v] += y * x[v];
        }
    }
}

struct Group {
    long D, F, N, G, width, reach;  // width: N x G in whole vectors; reach: of the widest kernel
    std::vector<float> u, v, line, hidden, spare, weight;
    Group(long D, long F, long N, long G, long reach)
        : D(D), F(F), N(N), G(G),
          width(((N * G - 1) / (SHARED * LANES) + 1) * SHARED * LANES), reach(reach),
          u(D * width), v(D * width), line(width + 2 * reach * G + LANES),
          hidden((HIDDEN + ROWS) * VECTORS * LANES), spare(ROWS * std::max(D, F)), weight(width) {}

    // v = s1 u + c1 GELU(conv(u) + bias) + t1, one channel of the width at a time
    void convolve(const Block& b) {
        const long left = (b.k - 1) / 2;
        for (long d = 0; d < D; ++d) {
            const float *in = u.data() + d * width, *w = b.kernel + d * b.k;
            float* out = v.data() + d * width;
            std::copy(in, in + N * G, line.data() + reach * G);
            for (long c = 0; c < N * G; c += SHARED * LANES) {
                // taps that reach a token from some of these
                const long newest = std::min(N - 1, (c + SHARED * LANES - 1) / G);
                const long first = std::max(0L, left - newest);
                const long end = std::min(b.k, left + N - c / G);
                const float* x = line.data() + (reach - left) * G + c;
                Floats even[SHARED] = {}, odd[SHARED] = {};  // sums that need not wait for each other
                long j = first;
                for (; j + 2 <= end; j += 2)
#pragma GCC unroll 8
                    for (int q = 0; q < SHARED; ++q) {
                        even[q] += w[j] * load(x + j * G + q * LANES);
                        odd[q] += w[j + 1] * load(x + (j + 1) * G + q * LANES);
                    }
#pragma GCC unroll 8
                for (int q = 0; q < SHARED; ++q) {
                    if (j < end) even[q] += w[j] * load(x + j * G + q * LANES);
                    const Floats y = gelu(even[q] + odd[q] + b.bias[d]);
                    const Floats kept = b.s1[d] * load(in + c + q * LANES) + b.t1[d];
                    store(out + c + q * LANES, kept + b.c1[d] * y);
                }
            }
        }
    }

    // ROWS rows of a matrix of `rows` x K from row i on; what is missing at its end are zeros
    const float* part(const float* a, long i, long rows, long K) {
        if (i + ROWS <= rows) return a + i * K;
        std::fill(spare.begin(), spare.end(), 0.0f);
        std::copy(a + i * K, a + rows * K, spare.begin());
        return spare.data();
    }

    // u = s2 v + narrow GELU(widen v + bias) + bias for V vectors of tokens from column c on
    template <int V>
    void pair(const Block& b, long c) {
        const float* in = v.data() + c;
        float* out = u.data() + c;
        for (long f = 0; f < F; f += HIDDEN) {
            const long here = std::min(HIDDEN, F - f);
            for (long i = 0; i < here; i += ROWS) {
                Floats sum[ROWS][V];
                for (int r = 0; r < ROWS; ++r)
                    for (int q = 0; q < V; ++q)
                        sum[r][q] = Floats{} + (f + i + r < F ? b.widen_bias[f + i + r] : 0.0f);
                multiply<V>(part(b.widen, f + i, F, D), D, in, width, D, sum);
                for (int r = 0; r < ROWS; ++r)
                    for (int q = 0; q < V; ++q)
                        store(hidden.data() + ((i + r) * V + q) * LANES, gelu(sum[r][q]));
            }
            for (long d = 0; d < D; d += ROWS) {
                const long rows = std::min<long>(ROWS, D - d);
                Floats sum[ROWS][V] = {};
                for (int r = 0; r < rows; ++r)
                    for (int q = 0; q < V; ++q) {
                        const long at = (d + r) * width + q * LANES;
                        sum[r][q] = f ? load(out + at) : b.s2[d + r] * load(in + at) + b.narrow_bias[d + r];
                    }
                multiply<V>(part(b.narrow, d, D, F) + f, F, hidden.data(), V * LANES, here, sum);
                for (int r = 0; r < rows; ++r)
                    for (int q = 0; q < V; ++q) store(out + (d + r) * width + q * LANES, sum[r][q]);
            }
        }
    }

    // zeros where a token does not count, as the next convolution expects them
    void clear() {
        for (long d = 0; d < D; ++d)
            for (long c = 0; c < width; c += LANES) {
                float* x = u.data() + d * width + c;
                store(x, load(x) * load(weight.data() + c));
            }
    }

    void pass(const Block& b) {
        convolve(b);
        long c = 0;
        for (; c + (VECTORS - 1) * LANES < N * G; c += VECTORS * LANES) pair<VECTORS>(b, c);
        for (; c < N * G; c += LANES) pair<1>(b, c);
    }
};

}  // namespace

extern "C" {

// u (D, R, N) becomes what all blocks make of it, written to w; G series at a time. weight (R, N): 0
// for tokens that do not count; null: all do.
int encode(long D, long R, long N, long F, long G, long depth, const Block* blocks,
           const float* u, const float* weight, float* w, int threads) {
    long reach = 0;
    for (long i = 0; i < depth; ++i) reach = std::max(reach, blocks[i].k);
    std::atomic<int> failed{0};
#pragma omp parallel num_threads(threads)
    {
        std::optional<Group> own;  // a thread without memory for it has nothing to do
        try {
            own.emplace(D, F, N, G, reach);
        } catch (const std::bad_alloc&) {
            failed = 1;
        }
#pragma omp for schedule(static)
        for (long first = 0; first < R; first += G) {
            if (!own) continue;
            Group& group = *own;
            const long rows = std::min(G, R - first);
            for (long d = 0; d < D; ++d)
                for (long r = 0; r < rows; ++r) {
                    const float* from = u + (d * R + first + r) * N;
                    float* to = group.u.data() + d * group.width + r;
                    for (long n = 0; n < N; ++n) to[n * G] = from[n];
                }
            if (weight)
                for (long r = 0; r < rows; ++r)
                    for (long n = 0; n < N; ++n)
                        group.weight[n * G + r] = weight[(first + r) * N + n];
            for (long i = 0; i < depth; ++i) {
                group.pass(blocks[i]);
                if (weight) group.clear();
            }
            for (long d = 0; d < D; ++d)
                for (long r = 0; r < rows; ++r) {
                    const float* from = group.u.data() + d * group.width + r;
                    float* to = w + (d * R + first + r) * N;
                    for (long n = 0; n < N; ++n) to[n] = from[n * G];
                }
        }
    }
    return failed;
}

// x = scale GELU(x) + shift for rows of n values; without a scale just the GELU.
int gelu(long rows, long n, float* x, const float* scale, const float* shift, int threads) {
    const long parts = (n - 1) / 4096 + 1;
    return parallel(rows * parts, threads, [&](long i) {
        const long row = i / parts, from = i % parts * 4096;
        const float a = scale ? scale[row] : 1.0f, b = scale ? shift[row] : 0.0f;
        float* values = x + row * n + from;
        each(std::min(4096L, n - from), [&](long j, long m) {
            store(values + j, a * gelu(load(values + j, m)) + b, m);
        });
    });
}

}  // extern "C"
