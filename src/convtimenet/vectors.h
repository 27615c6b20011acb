// Sixteen float32 values at a time, for kernels.cpp and encode.cpp.
#pragma once

#include <cstdint>
#include <cstring>

namespace {

// The vector extension that GCC and Clang share; the compiler splits these where the processor's
// registers are shorter.
constexpr long LANES = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));

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
// Calls use(i, n) for whole vectors, n = LANES, and once for what is left.
template <class Use>
inline void each(long size, Use use) {
    long i = 0;
    for (; i + LANES <= size; i += LANES) use(i, LANES);
    if (i < size) use(i, size - i);
}

}  // namespace
