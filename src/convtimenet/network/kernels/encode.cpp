// The encoder in its inference form on CPU, float32: all blocks in one pass. Compiled by
// build.py, called by native.py; its plain torch counterpart is inference.FusedBlock, and the tests
// compare the two. If a block also has 8-bit pointwise weights, they are used: each token is quantised
// by its own range, so a prediction does not depend on the others in the batch.
//
// Without batch statistics, series are independent. So a group of G series goes through all blocks
// before the next group starts, and its tokens never leave the core's cache. Inside a group the layout
// is (D, N, G): one step along N is G values, so a convolution along N is one along a line of N x G
// values with step G, and every vector is full.

#include <algorithm>
#include <optional>
#include <vector>

#include "vectors.h"

#ifdef __AVX512VNNI__
#include <immintrin.h>
#endif

namespace {

// One tile of a matrix product stays in registers: ROWS x V vectors, ROWS8 x V for 8-bit products.
// Widths of 8-bit matrices are multiples of 8, hence of ROWS8.
#ifdef __AVX512F__
constexpr int ROWS = 8, ROWS8 = 8, VECTORS = 3;
#else
constexpr int ROWS = 6, ROWS8 = 4, VECTORS = 2;
#endif
constexpr long HIDDEN = 128;  // hidden values of a token at a time: they stay in the first-level cache
constexpr int SHARED = 4;     // vectors that share each load of a convolution tap

// An 8-bit matrix: row r is scale[r] times integers, whose sum is sum[r] / scale[r].
struct Bytes {
    const int8_t* values;  // null: no 8-bit weights
    const float *scale, *sum;
};

struct Block {  // layout as filled by native.py
    long k;
    const float *kernel, *bias, *s1, *c1, *t1, *widen, *widen_bias, *s2, *narrow, *narrow_bias;
    Bytes widen8, narrow8;
};

// sum += a b for ROWS rows of a, with row stride `row`, and V vectors of each row of b.
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

// Like gelu in vectors.h, with errors within 6e-5 for |x| < 3.5 and 3e-4 |x| beyond: far below the
// error of 8-bit quantisation.
inline Floats rough_gelu(Floats x) {
    x = maximum(x, -3.5f);
    const Floats z = minimum(x, 3.5f), s = z * z * (2 / 12.25f) - 1.0f;
    Floats p = s * 2.336280463e-03f - 7.908028154e-03f;
    p = p * s + 1.572223843e-02f;
    p = p * s - 2.961930213e-02f;
    p = p * s + 5.327763343e-02f;
    p = p * s - 9.035968789e-02f;
    p = p * s + 1.993445325e-01f;
    return x * (z * p + 0.5f);
}

// sum += four values of each token, in 0..255, times four in -127..127
inline Ints dot4(Ints sum, Ints q, const int8_t* a) {
#ifdef __AVX512VNNI__
    int32_t four;
    std::memcpy(&four, a, sizeof four);
    return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)q, _mm512_set1_epi32(four));
#else
    for (int i = 0; i < 4; ++i) sum += a[i] * (q >> 8 * i & 255);
    return sum;
#endif
}

// V vectors of tokens quantised to 8 bits, K values each: x = low + scale q, with low and scale per
// token; q in 0..255, four values of a token next to each other.
template <int V>
struct Coarse {
    Floats low[V], scale[V];
    Ints* q;

    void take(const float* x, long width, long K) {
        Floats high[V];
        for (int v = 0; v < V; ++v) low[v] = high[v] = load(x + v * LANES);
        for (long k = 0; k < K; ++k)
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) {
                const Floats y = load(x + k * width + v * LANES);
                low[v] = y < low[v] ? y : low[v];
                high[v] = y > high[v] ? y : high[v];
            }
        Floats times[V];
        for (int v = 0; v < V; ++v) {
            const Floats range = maximum(high[v] - low[v], 1e-30f);
            scale[v] = range * (1.0f / 255);
            times[v] = 255.0f / range;
        }
        for (long k = 0; k < K; k += 4)
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) {
                Ints four = {};
#pragma GCC unroll 4
                for (int i = 3; i >= 0; --i) {
                    // subtract first: exact even if the range is small compared with the values
                    const Floats y = (load(x + (k + i) * width + v * LANES) - low[v]) * times[v];
                    four = four << 8 | __builtin_convertvector(y + 0.5f, Ints);
                }
                q[k / 4 * V + v] = four;
            }
    }

    // ROWS8 rows of a times the tokens, from row i on
    void multiply(const Bytes& a, long i, long K, Floats (&product)[ROWS8][V]) const {
        Ints sum[ROWS8][V] = {};
        const int8_t* row = a.values + i * K;
        for (long k = 0; k < K; k += 4)
#pragma GCC unroll 8
            for (int r = 0; r < ROWS8; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < V; ++v) sum[r][v] = dot4(sum[r][v], q[k / 4 * V + v], row + r * K + k);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS8; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v)
                product[r][v] = __builtin_convertvector(sum[r][v], Floats) * (scale[v] * a.scale[i + r]) + low[v] * a.sum[i + r];
    }
};

struct Group {
    long D, F, N, G, width, reach;  // width: N x G in whole vectors; reach: of the widest kernel
    std::vector<float> u, v, line, hidden, spare, weight;
    std::vector<Ints> bytes;
    Group(long D, long F, long N, long G, long reach)
        : D(D), F(F), N(N), G(G),
          width(((N * G - 1) / (SHARED * LANES) + 1) * SHARED * LANES), reach(reach),
          u(D * width), v(D * width), line(width + 2 * reach * G + LANES),
          hidden((std::max(F, HIDDEN) + ROWS) * VECTORS * LANES), spare(ROWS * std::max(D, F)),
          weight(width), bytes((std::max(D, F) / 4 + 1) * VECTORS) {}

    // v = s1 u + c1 GELU(conv(u) + bias) + t1, one channel of the width at a time
    void convolve(const Block& b) {
        const long left = (b.k - 1) / 2;
        for (long d = 0; d < D; ++d) {
            const float *in = u.data() + d * width, *w = b.kernel + d * b.k;
            float* out = v.data() + d * width;
            std::copy(in, in + N * G, line.data() + reach * G);
            for (long c = 0; c < N * G; c += SHARED * LANES) {
                // taps that reach a token from at least one of these
                const long newest = std::min(N - 1, (c + SHARED * LANES - 1) / G);
                const long first = std::max(0L, left - newest);
                const long end = std::min(b.k, left + N - c / G);
                const float* x = line.data() + (reach - left) * G + c;
                Floats even[SHARED] = {}, odd[SHARED] = {};  // independent sums, to hide latency
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

    // ROWS rows of a matrix of `rows` x K from row i on, zero-padded at the end
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

    // The same with both products in 8 bits.
    template <int V>
    void pair8(const Block& b, long c) {
        const float* in = v.data() + c;
        float* out = u.data() + c;
        Coarse<V> tokens{{}, {}, bytes.data()};
        Floats product[ROWS8][V];
        tokens.take(in, width, D);
        for (long i = 0; i < F; i += ROWS8) {
            tokens.multiply(b.widen8, i, D, product);
            for (int r = 0; r < ROWS8; ++r)
                for (int q = 0; q < V; ++q)
                    store(hidden.data() + ((i + r) * V + q) * LANES, rough_gelu(product[r][q] + b.widen_bias[i + r]));
        }
        tokens.take(hidden.data(), V * LANES, F);
        for (long d = 0; d < D; d += ROWS8) {
            tokens.multiply(b.narrow8, d, F, product);
            for (int r = 0; r < ROWS8; ++r)
                for (int q = 0; q < V; ++q) {
                    const long at = (d + r) * width + q * LANES;
                    store(out + at, product[r][q] + b.s2[d + r] * load(in + at) + b.narrow_bias[d + r]);
                }
        }
    }

    // zeros for masked tokens, as the next convolution expects
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
        for (; c + (VECTORS - 1) * LANES < N * G; c += VECTORS * LANES)
            b.widen8.values ? pair8<VECTORS>(b, c) : pair<VECTORS>(b, c);
        for (; c < N * G; c += LANES) b.widen8.values ? pair8<1>(b, c) : pair<1>(b, c);
    }
};

}  // namespace

extern "C" {

// Passes u (D, R, N) through all blocks and writes the result to w (R, D, N), G series at a time.
// weight (R, N): 0 for masked tokens; null: no mask.
int encode(long D, long R, long N, long F, long G, long depth, const Block* blocks,
           const float* u, const float* weight, float* w, int threads) {
    long reach = 0;
    for (long i = 0; i < depth; ++i) reach = std::max(reach, blocks[i].k);
    std::atomic<int> failed{0};
#pragma omp parallel num_threads(threads)
    {
        std::optional<Group> own;  // empty if its memory could not be allocated
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
            for (long r = 0; r < rows; ++r)
                for (long d = 0; d < D; ++d) {
                    const float* from = group.u.data() + d * group.width + r;
                    float* to = w + ((first + r) * D + d) * N;
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
