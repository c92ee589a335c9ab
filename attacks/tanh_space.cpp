#include "attacks/tanh_space.h"

#include "core/error.h"

namespace hashgrad {

AdamEps parse_adam_eps(const std::string& text) {
  check(text == "tf1" || text == "corrected", "adam-eps: '{}' is neither tf1 nor corrected", text);
  return text == "tf1" ? AdamEps::tf1 : AdamEps::corrected;
}

const char* name_of(AdamEps eps) { return eps == AdamEps::tf1 ? "tf1" : "corrected"; }

AttackSetting adam_eps_setting() {
  return AttackSetting::word("adam-eps", "tf1", {"tf1", "corrected"},
                             "eps under sqrt(v), or under sqrt(v) corrected for bias");
}

AdamStep::AdamStep(double lr, int64_t taken, AdamEps mode) {
  const double root2 = std::sqrt(1 - std::pow(0.999, static_cast<double>(taken)));
  rate = lr * root2 / (1 - std::pow(0.9, static_cast<double>(taken)));
  eps = mode == AdamEps::tf1 ? 1e-8 : 1e-8 * root2;
}

TanhRows::TanhRows(const Tensor& images)
    : m(Tensor::zeros(images.shape(), images.dtype())), v(m.clone()), x(m.clone()) {
  w = m.clone();
  for_float_type(images.dtype(), "tanh", [&]<class T>() {
    for_rows(static_cast<size_t>(images.size(0)),
             [&](size_t row) { restart(row, row_data<T>(images, row)); });
  });
  anchor = x.clone();
}

template <class T>
void TanhRows::restart(size_t row, const T* image) {
  T *w_row = row_data<T>(w, row), *x_row = row_data<T>(x, row);
  for (int64_t i = 0; i < pixels(); ++i) w_row[i] = tanh_inverse(image[i]);
  for (int64_t i = 0; i < pixels(); ++i) x_row[i] = cpu::tanh_pixel(w_row[i]).x;
  forget<T>(row);
}
template void TanhRows::restart(size_t, const float*);
template void TanhRows::restart(size_t, const double*);

template <class T>
void TanhRows::forget(size_t row) {
  std::fill_n(row_data<T>(m, row), pixels(), T{0});
  std::fill_n(row_data<T>(v, row), pixels(), T{0});
}
template void TanhRows::forget<float>(size_t);
template void TanhRows::forget<double>(size_t);

}  // namespace hashgrad
