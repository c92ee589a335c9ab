// The steps of attack_step.h for the norms that count or add up pixels, L1 and L0, on x [rows, columns], one
// image per row. They sort, and there is no other engine than the CPU for them. A row's result depends on
// that row alone; ties go to the lowest index.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// sign / kept for the kept[row] elements of the gradient that are largest in magnitude, 0 for the others: a
/// direction of L1 norm 1. Zeros and NaNs are never kept, so there may be fewer; a zero row stays zero. `out`
/// may be `gradient`.
template <class T>
void sparse_signs(int64_t rows, int64_t columns, const int64_t* kept, const T* gradient, T* out);
/// Every row of the gradient scaled to the L1 norm `length`, whatever its size; a zero row stays zero. `out`
/// may be `gradient`.
template <class T>
void scaled_rows(int64_t rows, int64_t columns, double length, const T* gradient, T* out);
/// The gradient without what points out of the box: 0 where x is 0 and it falls, or x is 1 and it rises.
/// `out` may be `gradient`.
template <class T>
void inward(int64_t n, const T* x, const T* gradient, T* out);

/// Per row the point of the L1 ball around the centre and of [0,1] that is nearest to x (Euclidean); the sum
/// of |out - centre|, as distances() takes it, does not exceed eps. The centre lies in [0,1]. `out` may be x.
template <class T>
void project_l1(int64_t rows, int64_t columns, double eps, const T* x, const T* centre, T* out);
/// The same for the points that differ from the centre in eps elements at most.
template <class T>
void project_l0(int64_t rows, int64_t columns, double eps, const T* x, const T* centre, T* out);

/// Points drawn uniformly from the L1 ball around the centre, not yet in the box: exponential spacings,
/// element i from block i of the sequence (seed, Stream::attack, samples[row], restart). `out` may be
/// `centre`.
template <class T>
void start_l1(int64_t rows, int64_t columns, double eps, uint64_t seed, uint32_t restart,
              const int64_t* samples, const T* centre, T* out);
/// eps elements of each row, drawn without preference, replaced by uniform draws from [0,1]. `out` may be
/// `centre`.
template <class T>
void start_l0(int64_t rows, int64_t columns, double eps, uint64_t seed, uint32_t restart,
              const int64_t* samples, const T* centre, T* out);

}  // namespace hashgrad::cpu
