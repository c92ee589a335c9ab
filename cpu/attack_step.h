// The steps of gradient attacks on pixels x [rows, columns], one image per row; attacks/threat.h has the same
// on tensors. Every engine computes the same bits: sums are taken in one order, and no product is joined with
// a sum. A row's result depends on that row alone. Unless told otherwise an output lies apart from all
// inputs.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// out[i] = sign(gradient[i]), 0 at zero and NaN. `out` may be `gradient`.
template <class T>
void signs(int64_t n, const T* gradient, T* out);
/// Every row of the gradient divided by its Euclidean norm, whatever its size; a zero row stays zero. `out`
/// may be `gradient`.
template <class T>
void unit_rows(int64_t rows, int64_t columns, const T* gradient, T* out);
/// out[i] = x[i] + scale * direction[i]. `out` may be x.
template <class T>
void step(int64_t n, T scale, const T* x, const T* direction, T* out);

/// The element nearest to x[i] in [centre[i] - eps, centre[i] + eps] and [0,1]; |out - centre|, taken in
/// double, does not exceed eps. `out` may be x.
template <class T>
void project_linf(int64_t n, double eps, const T* x, const T* centre, T* out);
/// Per row the nearest point of the ball of radius eps around the centre in [0,1], then of [0,1]; the norm of
/// out - centre, as distances() takes it, does not exceed eps.
template <class T>
void project_l2(int64_t rows, int64_t columns, double eps, const T* x, const T* centre, T* out);

/// project_linf of step of signs, in one pass; centre is in [0,1]. `out` may be x.
template <class T>
void ascend_linf(int64_t n, T scale, double eps, const T* x, const T* gradient, const T* centre, T* out);
/// project_l2 of step of unit_rows, in one pass.
template <class T>
void ascend_l2(int64_t rows, int64_t columns, T scale, double eps, const T* x, const T* gradient,
               const T* centre, T* out);

/// A step of Adam (beta 0.9 and 0.999) on n elements of w, of which x = (tanh(w) + 1) / 2 is the image:
/// gradient is d loss / d x, m and v are the moments of d loss / d w. w -= rate * m / (sqrt(v) + eps); x
/// becomes its image.
template <class T>
void descend_tanh(int64_t n, T rate, T eps, const T* gradient, T* w, T* m, T* v, T* x);

/// Points drawn uniformly from [centre - eps, centre + eps], not yet in the box: draw i of the sequence
/// (seed, Stream::attack, samples[row], restart) for element i. `out` may be `centre`.
template <class T>
void start_linf(int64_t rows, int64_t columns, double eps, uint64_t seed, uint32_t restart,
                const int64_t* samples, const T* centre, T* out);
/// Points at distance radii[row] from the centre in a uniform direction, made of the normal draws of that
/// sequence. `out` may be `centre`.
template <class T>
void start_l2(int64_t rows, int64_t columns, uint64_t seed, uint32_t restart, const int64_t* samples,
              const double* radii, const T* centre, T* out);

/// out [4, rows]: how many elements of a row differ, the sum of their |differences|, its Euclidean norm, the
/// largest.
template <class T>
void distances(int64_t rows, int64_t columns, const T* x, const T* moved, double* out);

/// What steers an attack, per row.
struct Reading {
  double prediction;    // the column of the largest logit, the first of equal ones; -1 with a NaN among them,
                        // or if the largest is infinite
  double value;         // of the loss
  double zero, finite;  // 1 where all elements of the gradient are zero; are numbers
};
/// Reads logits [rows, classes], values [rows] and gradients [rows, columns]. Logits and values may be null:
/// the prediction is -1, the value 0; so may gradients without columns, which are zero and finite.
template <class T>
void read_rows(int64_t rows, int64_t classes, int64_t columns, const T* logits, const T* values,
               const T* gradient, Reading* out);

/// Row to_rows[k] of `to` = row from_rows[k] of `from`, for k < count; null stands for 0, 1, 2, ... No row is
/// written twice.
template <class T>
void copy_rows(int64_t count, int64_t columns, const int64_t* to_rows, const int64_t* from_rows,
               const T* from, T* to);

}  // namespace hashgrad::cpu
