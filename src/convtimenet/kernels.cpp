// The fused parts of a training step on CPU, float32. Built at first use by native.py; every
// function has a plain torch twin, and the tests compare the two.
//
// Layout (D, R, N), width first: one channel of the width is a plane of R x N contiguous values
// that stays in the core's cache, and convolution, GELU, dropout, residual and BatchNorm need
// nothing but that plane. So each function reads its tensors from memory once.

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
// exp(x) for x <= 0 to float precision: 2^n times a polynomial on [-ln2/2, ln2/2].
inline Floats exp_negative(Floats x) {
    x = x < -87.0f ? Floats{} - 87.0f : x;
    const float magic = 12582912.0f;  // adding it rounds to a whole number, kept in the low bits
    const Floats shifted = x * 1.44269504f + magic;
    const Floats n = shifted - magic;
    const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
    const Ints power = ((Ints)shifted - 0x4b400000 + 127) << 23;
    return y * (Floats)power;
}

// Normal distribution function and density; erf after Abramowitz and Stegun 7.1.26 (1.5e-7).
struct Normal { Floats cdf, pdf; };
inline Normal normal(Floats x) {
    const Floats z = (x < 0.0f ? -x : x) * 0.707106781f;
    const Floats t = 1.0f / (1.0f + 0.3275911f * z);
    const Floats e = exp_negative(-z * z);
    Floats y = t * 1.061405429f - 1.453152027f;
    y = y * t + 1.421413741f;
    y = y * t - 0.284496736f;
    y = y * t + 0.254829592f;
    const Floats half_tail = 0.5f * y * t * e;
    return {x < 0.0f ? half_tail : 1.0f - half_tail, 0.398942280f * e};
}

// Counter-based random bits: a hash of (seed, row, column), the same whatever thread asks.
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
        const Bits count = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        Bits x = (count + (static_cast<uint32_t>(column) + first)) * 0x9e3779b1u;
        x = mix<Bits>((x ^ (x >> 15)) + second);
        return x >= threshold ? Floats{} + scale : Floats{};
    }
};

struct Moments { float mean, inverse; };  // inverse = 1 / sqrt(variance + eps)
inline Moments moments(const float* x, long n, float eps, float* variance) {
    double total = 0.0, square = 0.0;
    for (long i = 0; i < n; i += 4096) {
        const long m = std::min(4096L, n - i);
        float s = 0.0f;
#pragma omp simd reduction(+ : s)
        for (long j = 0; j < m; ++j) s += x[i + j];
        total += s;
    }
    const float mean = static_cast<float>(total / n);
    for (long i = 0; i < n; i += 4096) {
        const long m = std::min(4096L, n - i);
        float s = 0.0f;
#pragma omp simd reduction(+ : s)
        for (long j = 0; j < m; ++j) s += (x[i + j] - mean) * (x[i + j] - mean);
        square += s;
    }
    *variance = static_cast<float>(square / n);
    return {mean, 1.0f / std::sqrt(*variance + eps)};
}
inline void normalise(const float* x, long n, Moments m, float gamma, float beta, float* y) {
    const float scale = m.inverse * gamma, shift = beta - m.mean * scale;
#pragma omp simd
    for (long i = 0; i < n; ++i) y[i] = x[i] * scale + shift;
}
// Gradient through BatchNorm: g becomes the gradient of x.
inline void normalise_backward(const float* x, float* g, long n, Moments m, float gamma,
                               float* g_gamma, float* g_beta) {
    double sum = 0.0, dot = 0.0;
    for (long i = 0; i < n; i += 4096) {
        const long size = std::min(4096L, n - i);
        float s = 0.0f, d = 0.0f;
#pragma omp simd reduction(+ : s, d)
        for (long j = 0; j < size; ++j) {
            s += g[i + j];
            d += g[i + j] * (x[i + j] - m.mean);
        }
        sum += s; dot += d;
    }
    *g_beta = static_cast<float>(sum);
    *g_gamma = static_cast<float>(dot * m.inverse);
    const float scale = gamma * m.inverse, shift = static_cast<float>(sum / n);
    const float slope = static_cast<float>(dot / n) * m.inverse * m.inverse;
#pragma omp simd
    for (long i = 0; i < n; ++i) g[i] = scale * (g[i] - shift - (x[i] - m.mean) * slope);
}

// 'same' convolution of a plane's rows with a kernel of k values. The result has room for whole
// vectors behind each row: the next row, or the slack at the end, takes what is too much.
struct Convolution {
    long R, N, k, left, blocks;
    std::vector<float> padded, out;
    Convolution(long R, long N, long k, long left)
        : R(R), N(N), k(k), left(left), blocks((N + LANES - 1) / LANES),
          padded(blocks * LANES + k + LANES, 0.0f), out(R * N + LANES, 0.0f) {}
    void pad(const float* row) { std::copy(row, row + N, padded.begin() + left); }
    const float* operator()(const float* plane, const float* w) {
        for (long r = 0; r < R; ++r) {
            pad(plane + r * N);
            for (long b = 0; b < blocks; ++b) {
                // taps that reach into the row from some of these lanes
                const long first = std::max(0L, left - b * LANES - LANES + 1);
                const long end = std::min(k, left + N - b * LANES);
                const float* x = padded.data() + b * LANES;
                Floats even = {}, odd = {};  // two sums that need not wait for each other
                long j = first;
                for (; j + 2 <= end; j += 2) {
                    even += w[j] * load(x + j);
                    odd += w[j + 1] * load(x + j + 1);
                }
                if (j < end) even += w[j] * load(x + j);
                store(out.data() + r * N + b * LANES, even + odd, room(r, b));
            }
        }
        return out.data();
    }
    long room(long r, long b) const { return std::min(LANES, R * N + LANES - r * N - b * LANES); }
};

}  // namespace

extern "C" {

// x1 = u + dropout(a GELU(conv(u) + bias)); y = BatchNorm(x1) with batch statistics.
void conv_forward(long D, long R, long N, long k, const float* u, const float* w,
                  const float* bias, float a, double p, uint64_t seed, const float* gamma,
                  const float* beta, float eps, float* x1, float* y, float* mean, float* variance,
                  int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long d = 0; d < D; ++d) {
        Convolution convolution(R, N, k, (k - 1) / 2);
        const Dropout drop(seed, static_cast<uint32_t>(d), p);
        const float *in = u + d * R * N, b = bias[d];
        float* out = x1 + d * R * N;
        const float* c = convolution(in, w + d * k);
        each(R * N, [&](long i, long n) {
            const Floats x = load(c + i, n) + b;
            store(out + i, load(in + i, n) + a * x * normal(x).cdf * drop(i), n);
        });
        const Moments m = moments(out, R * N, eps, variance + d);
        mean[d] = m.mean;
        normalise(out, R * N, m, gamma[d], beta[d], y + d * R * N);
    }
}

// Gradients of conv_forward. g: gradient of y, becomes the gradient of u. g_a: a part per channel.
void conv_backward(long D, long R, long N, long k, const float* u, const float* w,
                   const float* bias, float a, double p, uint64_t seed, const float* gamma,
                   float eps, const float* x1, const float* mean, const float* variance, float* g,
                   float* g_w, float* g_bias, double* g_a, float* g_gamma, float* g_beta,
                   int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long d = 0; d < D; ++d) {
        const long left = (k - 1) / 2;
        const float *in = u + d * R * N, b = bias[d];
        float* out = g + d * R * N;
        const Moments m = {mean[d], 1.0f / std::sqrt(variance[d] + eps)};
        normalise_backward(x1 + d * R * N, out, R * N, m, gamma[d], g_gamma + d, g_beta + d);
        Convolution convolution(R, N, k, left), transposed(R, N, k, k - 1 - left);
        const Dropout drop(seed, static_cast<uint32_t>(d), p);
        const float* c = convolution(in, w + d * k);
        std::vector<float> inner(R * N + LANES, 0.0f);  // gradient of the convolution's result
        double bias_sum = 0.0, a_sum = 0.0;
        for (long i = 0; i < R * N; i += 4096) {
            Floats sum_a = {}, sum_b = {};
            each(std::min(4096L, R * N - i), [&](long j, long n) {
                const Floats x = load(c + i + j, n) + b;
                const Normal d = normal(x);
                const Floats through = load(out + i + j, n) * drop(i + j);
                const Floats slope = through * (a * (d.cdf + x * d.pdf));
                sum_a += through * x * d.cdf;
                sum_b += slope;
                store(inner.data() + i + j, slope, n);
            });
            a_sum += sum(sum_a);
            bias_sum += sum(sum_b);
        }
        g_bias[d] = static_cast<float>(bias_sum);
        g_a[d] = a_sum;
        std::vector<float> sums(k * LANES, 0.0f), row(convolution.blocks * LANES, 0.0f);
        for (long r = 0; r < R; ++r) {
            convolution.pad(in + r * N);
            std::copy(inner.data() + r * N, inner.data() + (r + 1) * N, row.data());
            for (long j = 0; j < k; ++j) {
                Floats s = load(sums.data() + j * LANES);
                for (long v = 0; v < convolution.blocks * LANES; v += LANES)
                    s += load(row.data() + v) * load(convolution.padded.data() + v + j);
                store(sums.data() + j * LANES, s);
            }
        }
        for (long j = 0; j < k; ++j) g_w[d * k + j] = sum(load(sums.data() + j * LANES));
        std::vector<float> reversed(w + d * k, w + (d + 1) * k);
        std::reverse(reversed.begin(), reversed.end());
        const float* back = transposed(inner.data(), reversed.data());
        each(R * N, [&](long i, long n) {
            store(out + i, load(out + i, n) + load(back + i, n), n);
        });
    }
}

// x2 = v + dropout(a (f + bias)), written over f; y = BatchNorm(x2) with batch statistics.
void residual_forward(long D, long M, const float* v, float* f, const float* bias, float a,
                      double p, uint64_t seed, const float* gamma, const float* beta, float eps,
                      float* y, float* mean, float* variance, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long d = 0; d < D; ++d) {
        const Dropout drop(seed, static_cast<uint32_t>(d), p);
        const float *in = v + d * M, b = bias[d];
        float* out = f + d * M;
        each(M, [&](long i, long n) {
            store(out + i, load(in + i, n) + a * (load(out + i, n) + b) * drop(i), n);
        });
        const Moments m = moments(out, M, eps, variance + d);
        mean[d] = m.mean;
        normalise(out, M, m, gamma[d], beta[d], y + d * M);
    }
}

// Gradients of residual_forward. g: gradient of y, becomes the gradient of v (this path);
// branch becomes the gradient behind a, whose sums over a row are sums.
void residual_backward(long D, long M, const float* x2, double p, uint64_t seed,
                       const float* gamma, float eps, const float* mean, const float* variance,
                       float* g, float* branch, float* sums, float* g_gamma, float* g_beta,
                       int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long d = 0; d < D; ++d) {
        const Moments m = {mean[d], 1.0f / std::sqrt(variance[d] + eps)};
        normalise_backward(x2 + d * M, g + d * M, M, m, gamma[d], g_gamma + d, g_beta + d);
        const Dropout drop(seed, static_cast<uint32_t>(d), p);
        const float* in = g + d * M;
        float* out = branch + d * M;
        double total = 0.0;
        for (long i = 0; i < M; i += 4096) {
            Floats s = {};
            each(std::min(4096L, M - i), [&](long j, long n) {
                const Floats kept = load(in + i + j, n) * drop(i + j);
                s += kept;
                store(out + i + j, kept, n);
            });
            total += sum(s);
        }
        sums[d] = static_cast<float>(total);
    }
}

// h = dropout(GELU(h + bias)) in place: F rows of n values, columns [first, first + n) of a whole.
void gelu_forward(long F, long n, float* h, const float* bias, double p, uint64_t seed, long first,
                  int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long f = 0; f < F; ++f) {
        const Dropout drop(seed, static_cast<uint32_t>(f), p);
        float *row = h + f * n, b = bias[f];
        each(n, [&](long i, long m) {
            const Floats x = load(row + i, m) + b;
            store(row + i, x * normal(x).cdf * drop(first + i), m);
        });
    }
}

// h: values before gelu_forward, becomes its result. g: gradient of the result, becomes the
// gradient of h. g_bias: added to.
void gelu_backward(long F, long n, float* h, float* g, const float* bias, double p, uint64_t seed,
                   long first, float* g_bias, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long f = 0; f < F; ++f) {
        const Dropout drop(seed, static_cast<uint32_t>(f), p);
        float *row = h + f * n, *grad = g + f * n, b = bias[f];
        Floats s = {};
        each(n, [&](long i, long m) {
            const Floats x = load(row + i, m) + b, keep = drop(first + i);
            const Normal d = normal(x);
            const Floats back = load(grad + i, m) * keep * (d.cdf + x * d.pdf);
            store(row + i, x * d.cdf * keep, m);
            store(grad + i, back, m);
            s += back;
        });
        g_bias[f] += sum(s);
    }
}

// Points of deformed patches: out[r, n, j, :] = x at first = n S plus the offset, a value between two
// neighbours in time; slope is their difference. x is (R, T, C), edges (R, N), out (R, N, P, C).
void interpolate(long R, long T, long C, long N, long P, long S, const float* x, const float* left,
                 const float* right, float* out, float* slope, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long r = 0; r < R; ++r) {
        std::vector<float> part(P);
        std::vector<int32_t> below(P), above(P);
        const float* series = x + r * T * C;
        for (long n = 0; n < N; ++n) {
            const float from = left[r * N + n], step = right[r * N + n] - from;
            const int32_t first = static_cast<int32_t>(n * S), last = static_cast<int32_t>(T - 1);
            for (long j = 0; j < P; ++j) {
                const float offset = from + step * (static_cast<float>(j) / (P - 1));
                // rounding may put a position at the very start a little before it
                const float whole = std::max(std::floor(offset), -static_cast<float>(first));
                part[j] = offset - whole;
                // a position that is no number must not read outside
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
    }
}

// y = (x - centre) / scale per row of T values: scale is the standard deviation, centre the mean or
// the last value.
void standardise(long rows, long T, const float* x, float eps, int last, float* y, float* centre,
                 float* scale, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long r = 0; r < rows; ++r) {
        const float* in = x + r * T;
        float variance;
        const Moments m = moments(in, T, eps, &variance);
        const float middle = last ? in[T - 1] : m.mean, deviation = std::sqrt(variance + eps);
#pragma omp simd
        for (long t = 0; t < T; ++t) y[r * T + t] = (in[t] - middle) / deviation;
        centre[r] = middle;
        scale[r] = deviation;
    }
}

}  // extern "C"
