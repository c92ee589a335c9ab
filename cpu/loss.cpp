#include "cpu/loss.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "cpu/for_rows.h"
#include "cpu/loss_functions.h"
#include "cpu/pointwise_functions.h"
#include "cpu/scratch.h"
#include "cpu/softmax.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t grain = 16 * 1024;  // elements per task

/// Columns of the `count` largest logits of a row, falling; equal ones in column order.
template <class T>
std::array<int64_t, 4> largest(const T* z, int64_t classes, size_t count) {
  std::array<int64_t, 4> top{};
  size_t found = 0;
  for (int64_t j = 0; j < classes; ++j) {
    size_t place = found;
    while (place > 0 && functions::above(z[j], z[top[place - 1]])) --place;
    if (place == count) continue;
    if (found < count) ++found;
    for (size_t p = found - 1; p > place; --p) top[p] = top[p - 1];
    top[place] = j;
  }
  return top;
}

/// In double: a large gap must not round the sum away.
template <class T>
T exact_loss(int64_t classes, const T* z, int64_t label) {
  const auto top = largest(z, classes, 2);
  const double max = static_cast<double>(z[top[0] == label ? top[1] : top[0]]);
  double sum = 0;
  for (int64_t j = 0; j < classes; ++j)
    if (j != label) sum += std::exp(static_cast<double>(z[j]) - max);
  return static_cast<T>(max - static_cast<double>(z[label]) + std::log(sum));
}

}  // namespace

void find_bad_label(int64_t rows, int64_t classes, const int64_t* labels, int64_t* row) {
  *row = std::find_if(labels, labels + rows, [&](int64_t y) { return y < 0 || y >= classes; }) - labels;
}

template <class T>
void smoothed_one_hot(int64_t rows, int64_t classes, double smoothing, const int64_t* labels, T* targets) {
  const double rest = smoothing / static_cast<double>(classes);
  for_rows(rows, classes, grain, [&](int64_t i) {
    std::fill_n(targets + i * classes, classes, static_cast<T>(rest));
    targets[i * classes + labels[i]] = static_cast<T>(1 - smoothing + rest);
  });
}

template <class T>
void cross_entropy(int64_t rows, int64_t classes, const T* z, const T* targets, T* loss, T* gradient) {
  for_rows(rows, classes, grain, [&](int64_t i) {
    const T* t = targets + i * classes;
    const Scratch<T> log_p(classes);
    log_softmax(1, classes, z + i * classes, log_p.data());
    double sum = 0, total = 0;
    for (int64_t j = 0; j < classes; ++j)
      if (t[j] != 0)
        sum -= static_cast<double>(t[j]) * static_cast<double>(log_p.data()[j]);  // 0 * log 0 is 0
    loss[i] = static_cast<T>(sum);
    if (!gradient) return;
    T* d = gradient + i * classes;
    softmax(1, classes, z + i * classes, d);
    for (int64_t j = 0; j < classes; ++j) total += static_cast<double>(t[j]);
    for (int64_t j = 0; j < classes; ++j) d[j] = d[j] * static_cast<T>(total) - t[j];
  });
}

template <class T>
void exact_cross_entropy(int64_t rows, int64_t classes, const T* z, const int64_t* labels, T* loss,
                         T* gradient) {
  for_rows(rows, classes, grain, [&](int64_t i) {
    loss[i] = exact_loss(classes, z + i * classes, labels[i]);
    if (!gradient) return;
    T* d = gradient + i * classes;
    std::copy_n(z + i * classes, classes, d);
    d[labels[i]] = -std::numeric_limits<T>::infinity();  // takes y out of the softmax
    softmax(1, classes, d, d);
    d[labels[i]] = -1;
  });
}

template <class T>
void scale_rows(int64_t rows, int64_t classes, int64_t copies, const T* dy, const T* gradient, T* dz) {
  for_rows(copies * rows, classes, grain, [&](int64_t i) {
    for (int64_t j = 0; j < classes; ++j) dz[i * classes + j] = dy[i] * gradient[i % rows * classes + j];
  });
}

template <class T>
void logit_difference(LogitLoss kind, int64_t rows, int64_t classes, const T* z, const int64_t* labels,
                      const int64_t* targets, T* loss, LogitChoice* choices) {
  for_rows(rows, classes, grain, [&](int64_t i) {
    const T* row = z + i * classes;
    const auto top = largest(row, classes, kind == LogitLoss::margin ? 2 : 4);
    const LogitChoice c = functions::choose(kind, row, top.data(), labels[i], targets ? targets[i] : 0);
    loss[i] = static_cast<T>(functions::difference_of(c, row) / functions::scale_of(c, row));
    if (choices) choices[i] = c;
  });
}

template <class T>
void logit_difference_backward(int64_t rows, int64_t classes, int64_t copies, const T* z,
                               const LogitChoice* choices, const T* dy, T* dz) {
  for_rows(copies * rows, classes, grain, [&](int64_t i) {
    const LogitChoice& c = choices[i % rows];
    const T* row = z + i % rows * classes;
    T* d = dz + i * classes;
    const double scale = functions::scale_of(c, row), difference = functions::difference_of(c, row);
    std::fill_n(d, classes, T{0});
    for (const int64_t j :
         {c.plus, c.minus, c.first, c.third, c.fourth})  // without a scale the last three are 0
      d[j] = functions::slope_of<T>(c, j, scale, difference, static_cast<double>(dy[i]));
  });
}

#define INSTANTIATE(T)                                                                                       \
  template void smoothed_one_hot(int64_t, int64_t, double, const int64_t*, T*);                              \
  template void cross_entropy(int64_t, int64_t, const T*, const T*, T*, T*);                                 \
  template void exact_cross_entropy(int64_t, int64_t, const T*, const int64_t*, T*, T*);                     \
  template void scale_rows(int64_t, int64_t, int64_t, const T*, const T*, T*);                               \
  template void logit_difference(LogitLoss, int64_t, int64_t, const T*, const int64_t*, const int64_t*, T*,  \
                                 LogitChoice*);                                                              \
  template void logit_difference_backward(int64_t, int64_t, int64_t, const T*, const LogitChoice*, const T*, \
                                          T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
