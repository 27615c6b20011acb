// SIMD helpers for the sources beside it: one register of float32 values at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>

namespace {

// The vector extension of GCC and Clang. GCC 12 spills vectors longer than a register to memory,
// which makes AVX2 three to ten times slower.
#ifdef __AVX512F__
constexpr long LANES = 16;
#else
constexpr long LANES = 8;
#endif
typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Ints __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint32_t Bits __attribute__((vector_size(LANES * sizeof(uint32_t))));

inline Floats load(const float* p, long n = LANES) {
    Floats x = {};
    if (n == LANES) std::memcpy(&x, p, sizeof x);
    else std::memcpy(&x, p, n * sizeof(float));
    return x;
}
inline void store(float* p, Floats x, long n = LANES) {
    if (n == LANES) std::memcpy(p, &x, sizeof x);
    else std::memcpy(p, &x, n * sizeof(float));
}
// Calls use(i, n) for every whole vector, n = LANES, and once for the remainder.
template <class Use>
inline void each(long size, Use use) {
    long i = 0;
    for (; i + LANES <= size; i += LANES) use(i, LANES);
    if (i < size) use(i, size - i);
}

// Calls use(i) for i from 0 to n - 1 on the given number of threads; returns 1 if memory ran out in
// any call, else 0. No exception may leave a thread.
template <class Use>
inline int parallel(long n, int threads, Use use) {
    std::atomic<int> failed{0};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < n; ++i) {
        try {
            if (!failed) use(i);
        } catch (const std::bad_alloc&) {
            failed = 1;
        }
    }
    return failed;
}

// GELU is x times the normal distribution function, which is 1/2 + x P(x^2) on [-5, 5]; its slope is
// 1/2 + x Q(x^2) there. P and Q are least-squares fits in Chebyshev polynomials of s, which maps
// [0, 25] to [-1, 1]: errors up to 3e-7 and 1e-6, in a third of the time of an exponential and a
// division. Outside [-5, 5] the value at the border is used, with errors of 3e-7 and 7e-6.
// maximum and minimum compile to one instruction each; this operand order propagates NaN.
inline Floats maximum(Floats x, float low) {
    const Floats y = Floats{} + low;
    return y > x ? y : x;
}
inline Floats minimum(Floats x, float high) {
    const Floats y = Floats{} + high;
    return y < x ? y : x;
}
inline Floats gelu(Floats x) {
    x = maximum(x, -5.0f);
    const Floats z = minimum(x, 5.0f), s = z * z * 0.08f - 1.0f;
    Floats p = s * 5.948293838e-04f - 1.611555344e-03f;
    p = p * s + 1.765997848e-03f;
    p = p * s - 2.692101290e-03f;
    p = p * s + 6.361238193e-03f;
    p = p * s - 1.115644444e-02f;
    p = p * s + 1.642754674e-02f;
    p = p * s - 2.327250689e-02f;
    p = p * s + 3.143639117e-02f;
    p = p * s - 4.044188187e-02f;
    p = p * s + 5.152099207e-02f;
    p = p * s - 7.029631734e-02f;
    p = p * s + 1.413637847e-01f;
    return x * (z * p + 0.5f);
}
inline Floats gelu_slope(Floats x) {
    const Floats z = minimum(maximum(x, -5.0f), 5.0f), s = z * z * 0.08f - 1.0f;
    Floats q = s * -4.609108903e-03f + 1.209574006e-02f;
    q = q * s - 1.062540337e-02f;
    q = q * s + 1.268857252e-02f;
    q = q * s - 3.424857184e-02f;
    q = q * s + 5.651822314e-02f;
    q = q * s - 6.817698479e-02f;
    q = q * s + 7.825227827e-02f;
    q = q * s - 8.437462896e-02f;
    q = q * s + 8.070798218e-02f;
    q = q * s - 7.179652154e-02f;
    q = q * s + 6.654465199e-02f;
    q = q * s - 7.510899752e-02f;
    q = q * s + 1.421341002e-01f;
    return z * q + 0.5f;
}

}  // namespace
