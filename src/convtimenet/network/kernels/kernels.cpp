// The fused parts of a training step on CPU, float32. Compiled by build.py, called by
// native.py; every function has a plain torch counterpart, and the tests compare the two.
//
// Layout (D, R, N), width first: one channel of the width is a plane of R x N contiguous values
// that stays in the core's cache, and convolution, GELU, dropout, residual and BatchNorm only need
// that plane. So each function reads its tensors from memory once.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "vectors.h"

namespace {

inline float sum(Floats x) {
    float total = 0.0f;
    for (int l = 0; l < LANES; ++l) total += x[l];
    return total;
}
// Counter-based random bits: a hash of (seed, row, column), independent of the thread.
template <class U>
inline U mix(U x) {
    x ^= x >> 16; x *= 0x7feb352du;
    x ^= x >> 15; x *= 0x846ca68bu;
    return x ^ (x >> 16);
}
struct Dropout {
    uint32_t first, second, threshold;
    float scale;
    Dropout(uint64_t seed, uint32_t row, double p)
        : first(mix<uint32_t>(row + mix<uint32_t>(static_cast<uint32_t>(seed)))),
          second(mix<uint32_t>(first ^ static_cast<uint32_t>(seed >> 32))),
          threshold(static_cast<uint32_t>(p * 4294967296.0)),
          scale(static_cast<float>(1.0 / (1.0 - threshold / 4294967296.0))) {}
    // 0 or 1 / (1 - p) for the columns from `column` on
    inline Floats operator()(long column) const {
        if (threshold == 0) return Floats{} + 1.0f;
        Bits count;
        for (int l = 0; l < LANES; ++l) count[l] = l;
        Bits x = (count + (static_cast<uint32_t>(column) + first)) * 0x9e3779b1u;
        x = mix<Bits>((x ^ (x >> 15)) + second);
        return x >= threshold ? Floats{} + scale : Floats{};
    }
};

// The M tokens of a batch and their mask as weights (masked 0, others 1).
struct Tokens {
    long M;
    const float* weight;  // null: no mask
    double total;
    Floats of(long i, long n) const {  // zeros after the first n
        if (weight) return load(weight + i, n);
        Floats x = {};
        if (n == LANES) x += 1.0f;
        else for (int l = 0; l < n; ++l) x[l] = 1.0f;
        return x;
    }
};

// Sums over the tokens: float32 within a few thousand tokens, float64 across.
template <class Use>
inline double total_of(long M, Use use) {
    double total = 0.0;
    for (long i = 0; i < M; i += 4096) {
        Floats s = {};
        each(std::min(4096L, M - i), [&](long j, long n) { s += use(i + j, n); });
        total += sum(s);
    }
    return total;
}

struct Moments { float mean, inverse; };  // inverse = 1 / sqrt(variance + eps)
inline Moments moments(const float* x, Tokens t, float eps, float* variance) {
    const double first = total_of(t.M, [&](long i, long n) { return load(x + i, n) * t.of(i, n); });
    const float mean = static_cast<float>(first / t.total);
    const double second = total_of(t.M, [&](long i, long n) {
        const Floats off = load(x + i, n) - mean;
        return off * off * t.of(i, n);
    });
    *variance = static_cast<float>(second / t.total);
    return {mean, 1.0f / std::sqrt(*variance + eps)};
}
// Zero for masked tokens.
inline void normalise(const float* x, Tokens t, Moments m, float gamma, float beta, float* y) {
    const float scale = m.inverse * gamma, shift = beta - m.mean * scale;
    each(t.M, [&](long i, long n) {
        store(y + i, (load(x + i, n) * scale + shift) * t.of(i, n), n);
    });
}
// What the gradient of BatchNorm's input needs of all its outputs' gradients.
struct Slopes { double all, dot; };
inline Slopes slopes(const float* x, const float* g, Tokens t, float mean) {
    return {total_of(t.M, [&](long i, long n) { return load(g + i, n) * t.of(i, n); }),
            total_of(t.M, [&](long i, long n) {
                return load(g + i, n) * t.of(i, n) * (load(x + i, n) - mean);
            })};
}
// Gradient through BatchNorm: g becomes the gradient of x. given: (all, dot) of the tokens of all
// processes, of which these are a part; null if these are all.
inline void normalise_backward(const float* x, float* g, Tokens t, Moments m, float gamma,
                               const double* given, float* g_gamma, float* g_beta) {
    const Slopes own = slopes(x, g, t, m.mean);
    *g_beta = static_cast<float>(own.all);
    *g_gamma = static_cast<float>(own.dot * m.inverse);
    const double all = given ? given[0] : own.all, dot = given ? given[1] : own.dot;
    const float scale = gamma * m.inverse, shift = static_cast<float>(all / t.total);
    const float slope = static_cast<float>(dot / t.total) * m.inverse * m.inverse;
    each(t.M, [&](long i, long n) {
        const Floats inner = load(g + i, n) - shift - (load(x + i, n) - m.mean) * slope;
        store(g + i, scale * inner * t.of(i, n), n);
    });
}

// 'same' convolution of a plane's rows with a kernel of k values, a few rows at a time, whose sums are
// independent of each other. Whole vectors are written past the end of each row: the excess falls on
// the next row, or on the slack at the end.
struct Convolution {
    static constexpr int TOGETHER = 4;
    long R, N, k, left, blocks, length;
    std::vector<float> padded, out;
    Convolution(long R, long N, long k, long left)
        : R(R), N(N), k(k), left(left), blocks((N + LANES - 1) / LANES),
          length(blocks * LANES + k + LANES), padded(TOGETHER * length, 0.0f),
          out(R * N + LANES, 0.0f) {}
    const float* row(long q) const { return padded.data() + q * length; }
    // rows from r on, with zeros around each; rows past the end keep their old values
    void pad(const float* plane, long r) {
        for (long q = 0; q < TOGETHER && r + q < R; ++q)
            std::copy(plane + (r + q) * N, plane + (r + q + 1) * N,
                      padded.begin() + q * length + left);
    }
    const float* operator()(const float* plane, const float* w) {
        for (long r = 0; r < R; r += TOGETHER) {
            pad(plane, r);
            for (long b = blocks - 1; b >= 0; --b) {  // backwards: overwrites the excess
                // taps that reach into the row from at least one of these lanes
                const long first = std::max(0L, left - b * LANES - LANES + 1);
                const long end = std::min(k, left + N - b * LANES);
                const float* x = padded.data() + b * LANES;
                Floats even[TOGETHER] = {}, odd[TOGETHER] = {};
                long j = first;
                for (; j + 2 <= end; j += 2)
#pragma GCC unroll 8
                    for (int q = 0; q < TOGETHER; ++q) {
                        even[q] += w[j] * load(x + q * length + j);
                        odd[q] += w[j + 1] * load(x + q * length + j + 1);
                    }
#pragma GCC unroll 8
                for (int q = 0; q < TOGETHER; ++q) {
                    if (j < end) even[q] += w[j] * load(x + q * length + j);
                    if (r + q < R)
                        store(out.data() + (r + q) * N + b * LANES, even[q] + odd[q], room(r + q, b));
                }
            }
        }
        return out.data();
    }
    long room(long r, long b) const { return std::min(LANES, R * N + LANES - r * N - b * LANES); }
};

}  // namespace

extern "C" {

// x1 = u + dropout(a GELU(conv(u) + bias)); y = BatchNorm(x1) with statistics over unmasked tokens
// (weight, whose sum is total; null: no mask), zero for masked ones. y null: only x1 and its statistics.
int conv_forward(long D, long R, long N, long k, const float* u, const float* w,
                 const float* bias, float a, double p, uint64_t seed, long first,
                 const float* gamma, const float* beta, float eps, const float* weight,
                 double total, float* x1,
                 float* y, float* mean, float* variance, int threads) {
    const Tokens tokens = {R * N, weight, total};
    return parallel(D, threads, [&](long d) {
        Convolution convolution(R, N, k, (k - 1) / 2);
        const Dropout drop(seed, static_cast<uint32_t>(d), p);
        const float *in = u + d * R * N, b = bias[d];
        float* out = x1 + d * R * N;
        const float* c = convolution(in, w + d * k);
        each(R * N, [&](long i, long n) {
            const Floats x = load(c + i, n) + b;
            store(out + i, load(in + i, n) + a * gelu(x) * drop(first + i), n);
        });
        const Moments m = moments(out, tokens, eps, variance + d);
        mean[d] = m.mean;
        if (y) normalise(out, tokens, m, gamma[d], beta[d], y + d * R * N);
    });
}

// Gradients of conv_forward. g: gradient of y, overwritten by the gradient of u. g_a: one partial sum
// per channel.
int conv_backward(long D, long R, long N, long k, const float* u, const float* w,
                  const float* bias, float a, double p, uint64_t seed, long first,
                  const float* gamma, float eps, const float* weight, double total, const float* x1,
                  const float* mean, const float* variance, const double* given, float* g,
                  float* g_w, float* g_bias, double* g_a, float* g_gamma, float* g_beta, int threads) {
    const Tokens tokens = {R * N, weight, total};
    return parallel(D, threads, [&](long d) {
        const long left = (k - 1) / 2;
        const float *in = u + d * R * N, b = bias[d];
        float* out = g + d * R * N;
        const Moments m = {mean[d], 1.0f / std::sqrt(variance[d] + eps)};
        normalise_backward(x1 + d * R * N, out, tokens, m, gamma[d], given ? given + 2 * d : nullptr,
                           g_gamma + d, g_beta + d);
        Convolution convolution(R, N, k, left), transposed(R, N, k, k - 1 - left);
        const Dropout drop(seed, static_cast<uint32_t>(d), p);
        const float* c = convolution(in, w + d * k);
        std::vector<float> inner(R * N + LANES, 0.0f);  // gradient of the convolution's output
        double bias_sum = 0.0, a_sum = 0.0;
        for (long i = 0; i < R * N; i += 4096) {
            Floats sum_a = {}, sum_b = {};
            each(std::min(4096L, R * N - i), [&](long j, long n) {
                const Floats x = load(c + i + j, n) + b;
                const Floats through = load(out + i + j, n) * drop(first + i + j);
                const Floats slope = through * (a * gelu_slope(x));
                sum_a += through * gelu(x);
                sum_b += slope;
                store(inner.data() + i + j, slope, n);
            });
            a_sum += sum(sum_a);
            bias_sum += sum(sum_b);
        }
        g_bias[d] = static_cast<float>(bias_sum);
        g_a[d] = a_sum;
        constexpr int TOGETHER = Convolution::TOGETHER;
        const long blocks = convolution.blocks;
        std::vector<float> sums(k * LANES, 0.0f), rows(TOGETHER * blocks * LANES, 0.0f);
        for (long r = 0; r < R; r += TOGETHER) {
            convolution.pad(in, r);
            for (long q = 0; q < TOGETHER; ++q) {
                float* row = rows.data() + q * blocks * LANES;
                if (r + q < R) std::copy(inner.data() + (r + q) * N, inner.data() + (r + q + 1) * N, row);
                else std::fill(row, row + N, 0.0f);
            }
            for (long j = 0; j < k; ++j) {
                Floats s[TOGETHER] = {};
                for (long b = 0; b < blocks; ++b)
#pragma GCC unroll 8
                    for (int q = 0; q < TOGETHER; ++q)
                        s[q] += load(rows.data() + (q * blocks + b) * LANES) *
                                load(convolution.row(q) + b * LANES + j);
                Floats total = load(sums.data() + j * LANES);
                for (int q = 0; q < TOGETHER; ++q) total += s[q];
                store(sums.data() + j * LANES, total);
            }
        }
        for (long j = 0; j < k; ++j) g_w[d * k + j] = sum(load(sums.data() + j * LANES));
        std::vector<float> reversed(w + d * k, w + (d + 1) * k);
        std::reverse(reversed.begin(), reversed.end());
        const float* back = transposed(inner.data(), reversed.data());
        each(R * N, [&](long i, long n) {
            store(out + i, load(out + i, n) + load(back + i, n), n);
        });
    });
}

// x2 = v + dropout(a (f + bias)), in place of f; y = BatchNorm(x2) with batch statistics, unless null.
int residual_forward(long D, long M, const float* v, float* f, const float* bias, float a,
                     double p, uint64_t seed, long first, const float* gamma, const float* beta,
                     float eps, const float* weight, double total, float* y, float* mean, float* variance,
                     int threads) {
    const Tokens tokens = {M, weight, total};
    return parallel(D, threads, [&](long d) {
        const Dropout drop(seed, static_cast<uint32_t>(d), p);
        const float *in = v + d * M, b = bias[d];
        float* out = f + d * M;
        each(M, [&](long i, long n) {
            store(out + i, load(in + i, n) + a * (load(out + i, n) + b) * drop(first + i), n);
        });
        const Moments m = moments(out, tokens, eps, variance + d);
        mean[d] = m.mean;
        if (y) normalise(out, tokens, m, gamma[d], beta[d], y + d * M);
    });
}

// Gradients of residual_forward. g: gradient of y, overwritten by the gradient of v (this path);
// branch: set to the gradient of a (f + bias); sums: its row sums.
int residual_backward(long D, long M, const float* x2, double p, uint64_t seed, long first,
                      const float* gamma, float eps, const float* weight, double total,
                      const float* mean, const float* variance, const double* given, float* g,
                      float* branch, float* sums, float* g_gamma, float* g_beta, int threads) {
    const Tokens tokens = {M, weight, total};
    return parallel(D, threads, [&](long d) {
        const Moments m = {mean[d], 1.0f / std::sqrt(variance[d] + eps)};
        normalise_backward(x2 + d * M, g + d * M, tokens, m, gamma[d], given ? given + 2 * d : nullptr,
                           g_gamma + d, g_beta + d);
        const Dropout drop(seed, static_cast<uint32_t>(d), p);
        const float* in = g + d * M;
        float* out = branch + d * M;
        double total = 0.0;
        for (long i = 0; i < M; i += 4096) {
            Floats s = {};
            each(std::min(4096L, M - i), [&](long j, long n) {
                const Floats kept = load(in + i + j, n) * drop(first + i + j);
                s += kept;
                store(out + i + j, kept, n);
            });
            total += sum(s);
        }
        sums[d] = static_cast<float>(total);
    });
}

// y = BatchNorm(x) with the given statistics.
int norm_forward(long D, long M, const float* x, const float* gamma, const float* beta, float eps,
                 const float* weight, const float* mean, const float* variance, float* y,
                 int threads) {
    const Tokens tokens = {M, weight, 0.0};
    return parallel(D, threads, [&](long d) {
        const Moments m = {mean[d], 1.0f / std::sqrt(variance[d] + eps)};
        normalise(x + d * M, tokens, m, gamma[d], beta[d], y + d * M);
    });
}

// The sums (all, dot) per channel that the gradient of BatchNorm's input needs; g: gradient of y.
int norm_slopes(long D, long M, const float* x, const float* g, const float* weight,
                const float* mean, double* out, int threads) {
    const Tokens tokens = {M, weight, 0.0};
    return parallel(D, threads, [&](long d) {
        const Slopes own = slopes(x + d * M, g + d * M, tokens, mean[d]);
        out[2 * d] = own.all;
        out[2 * d + 1] = own.dot;
    });
}

// h = dropout(GELU(h + bias)) in place: F rows of n values, columns [first, first + n) of the matrix.
int gelu_forward(long F, long n, float* h, const float* bias, double p, uint64_t seed, long first,
                 int threads) {
    return parallel(F, threads, [&](long f) {
        const Dropout drop(seed, static_cast<uint32_t>(f), p);
        float *row = h + f * n, b = bias[f];
        each(n, [&](long i, long m) {
            const Floats x = load(row + i, m) + b;
            store(row + i, gelu(x) * drop(first + i), m);
        });
    });
}

// h: input of gelu_forward, overwritten by its output. g: gradient of the output, overwritten by the
// gradient of h. g_bias: accumulated.
int gelu_backward(long F, long n, float* h, float* g, const float* bias, double p, uint64_t seed,
                  long first, float* g_bias, int threads) {
    return parallel(F, threads, [&](long f) {
        const Dropout drop(seed, static_cast<uint32_t>(f), p);
        float *row = h + f * n, *grad = g + f * n, b = bias[f];
        Floats s = {};
        each(n, [&](long i, long m) {
            const Floats x = load(row + i, m) + b, keep = drop(first + i);
            const Floats back = load(grad + i, m) * keep * gelu_slope(x);
            store(row + i, gelu(x) * keep, m);
            store(grad + i, back, m);
            s += back;
        });
        g_bias[f] += sum(s);
    });
}

// Points of deformed patches: out[r, n, j, :] = x at first = n S plus the offset, interpolated between
// two neighbours in time; slope is their difference. x is (R, T, C), edges (R, N), out (R, N, P, C).
int interpolate(long R, long T, long C, long N, long P, long S, const float* x, const float* left,
                const float* right, float* out, float* slope, int threads) {
    return parallel(R, threads, [&](long r) {
        std::vector<float> part(P);
        std::vector<int32_t> below(P), above(P);
        const float* series = x + r * T * C;
        for (long n = 0; n < N; ++n) {
            const float from = left[r * N + n], step = right[r * N + n] - from;
            const int32_t first = static_cast<int32_t>(n * S), last = static_cast<int32_t>(T - 1);
            for (long j = 0; j < P; ++j) {
                const float offset = from + step * (static_cast<float>(j) / (P - 1));
                // rounding may put a position at the start slightly before it
                const float whole = std::max(std::floor(offset), -static_cast<float>(first));
                part[j] = offset - whole;
                // a NaN position must not read out of bounds
                const float bounded = std::min(std::max(whole, -1e9f), 1e9f);
                const int32_t at = static_cast<int32_t>(bounded) + first;
                below[j] = std::min(std::max(at, 0), last);
                above[j] = std::min(below[j] + 1, last);
            }
            float* points = out + (r * N + n) * P * C;
            float* slopes = slope ? slope + (r * N + n) * P * C : nullptr;
            if (C == 1) {
#pragma omp simd
                for (long j = 0; j < P; ++j) {
                    const float low = series[below[j]], difference = series[above[j]] - low;
                    points[j] = low + part[j] * difference;
                    if (slopes) slopes[j] = difference;
                }
                continue;
            }
            for (long j = 0; j < P; ++j)
                for (long c = 0; c < C; ++c) {
                    const float low = series[below[j] * C + c];
                    const float difference = series[above[j] * C + c] - low;
                    points[j * C + c] = low + part[j] * difference;
                    if (slopes) slopes[j * C + c] = difference;
                }
        }
    });
}

// y = (x - centre) / scale per row of T values: scale is the standard deviation, centre the mean or
// the last value.
int standardise(long rows, long T, const float* x, float eps, int last, float* y, float* centre,
                float* scale, int threads) {
    return parallel(rows, threads, [&](long r) {
        const float* in = x + r * T;
        float variance;
        const Moments m = moments(in, {T, nullptr, static_cast<double>(T)}, eps, &variance);
        const float middle = last ? in[T - 1] : m.mean, deviation = std::sqrt(variance + eps);
#pragma omp simd
        for (long t = 0; t < T; ++t) y[r * T + t] = (in[t] - middle) / deviation;
        centre[r] = middle;
        scale[r] = deviation;
    });
}

}  // extern "C"
