// Losses of a classifier, one per row of logits z [rows, classes], with their gradients. A row's result
// depends on that row alone; a NaN logit makes the loss of its row NaN. Labels lie in [0, classes):
// find_bad_label() finds those that do not.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// *row = the first row whose label is not in [0, classes), or `rows` if there is none.
void find_bad_label(int64_t rows, int64_t classes, const int64_t* labels, int64_t* row);

/// targets [rows, classes] = (1 - smoothing) * onehot(label) + smoothing / classes.
template <class T>
void smoothed_one_hot(int64_t rows, int64_t classes, double smoothing, const int64_t* labels, T* targets);

/// loss = -sum_j t_j log softmax(z)_j, where 0 * log 0 is 0, and, unless `gradient` is null, its gradient by
/// z, softmax(z) * sum(t) - t, computed in the element type.
template <class T>
void cross_entropy(int64_t rows, int64_t classes, const T* z, const T* targets, T* loss, T* gradient);

/// loss = log sum_{j != y} exp(z_j) - z_y in double, classes >= 2, and, unless `gradient` is null, its
/// gradient by z: softmax over j != y, and -1 at y.
template <class T>
void exact_cross_entropy(int64_t rows, int64_t classes, const T* z, const int64_t* labels, T* loss,
                         T* gradient);

/// dz [copies, rows, classes] = dy [copies, rows] times the rows of `gradient` [rows, classes].
template <class T>
void scale_rows(int64_t rows, int64_t classes, int64_t copies, const T* dy, const T* gradient, T* dz);

/// Losses that are a difference of two logits, divided by the spread of the largest ones: see
/// autograd/ops/loss.h.
enum class LogitLoss { margin, dlr, dlr_targeted };

/// The logits that one row's loss is made of: (z_plus - z_minus) / scale, where scale = z_first - (z_third +
/// z_fourth) / 2, or 1 where `scaled` is 0.
struct LogitChoice {
  int64_t plus, minus;
  int64_t scaled = 0;
  int64_t first = 0, third = 0, fourth = 0;
};
/// Needs 2, 3 or 4 classes. `targets` is null but for dlr_targeted; `choices` [rows] may be null.
template <class T>
void logit_difference(LogitLoss kind, int64_t rows, int64_t classes, const T* z, const int64_t* labels,
                      const int64_t* targets, T* loss, LogitChoice* choices);
/// dz [copies, rows, classes] for dy [copies, rows], given the choices of logit_difference().
template <class T>
void logit_difference_backward(int64_t rows, int64_t classes, int64_t copies, const T* z,
                               const LogitChoice* choices, const T* dy, T* dz);

}  // namespace hashgrad::cpu
