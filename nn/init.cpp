#include "nn/init.h"

#include <array>
#include <cmath>
#include <utility>

namespace hashgrad {
namespace {

constexpr std::array<std::pair<const char*, Init>, 7> names{{{"pytorch", Init::pytorch},
                                                             {"he-normal", Init::he_normal},
                                                             {"he-uniform", Init::he_uniform},
                                                             {"xavier-normal", Init::xavier_normal},
                                                             {"xavier-uniform", Init::xavier_uniform},
                                                             {"lecun-normal", Init::lecun_normal},
                                                             {"zeros", Init::zeros}}};

/// Draws are made in double, so that float32 and float64 models start from the same point.
template <class Draw>
void fill(Tensor& tensor, const Draw& draw) {
  for_float_type(tensor.dtype(), "init", [&]<class T>() {
    T* out = tensor.data<T>();
    for (int64_t i = 0; i < tensor.numel(); ++i) out[i] = static_cast<T>(draw());
  });
}

void fill_uniform(Tensor& tensor, double bound, Random random) {
  fill(tensor, [&] { return bound * (2.0 * static_cast<double>(random.uniform()) - 1.0); });
}

void fill_normal(Tensor& tensor, double deviation, Random random) {
  fill(tensor, [&] { return deviation * random.normal(); });
}

enum Part : uint32_t { weight_part, bias_part };

}  // namespace

Init parse_init(const std::string& text) {
  std::string accepted;
  for (const auto& [name, init] : names) {
    if (text == name) return init;
    accepted += (accepted.empty() ? "" : ", ") + std::string(name);
  }
  fail("init: '{}' is not known; accepted: {}", text, accepted);
}

std::string to_string(Init init) {
  for (const auto& [name, value] : names)
    if (value == init) return name;
  fail("init: {} is not a law", static_cast<int>(init));
}

void Initialiser::weight(Tensor& weight, int64_t fan_in, int64_t fan_out) const {
  const double in = static_cast<double>(fan_in), both = static_cast<double>(fan_in + fan_out);
  const Random random(seed_, Stream::init, layer_, weight_part);
  switch (law_) {
    case Init::pytorch:
      return fill_uniform(weight, 1 / std::sqrt(in), random);  // kaiming_uniform with a = sqrt(5)
    case Init::he_normal:
      return fill_normal(weight, std::sqrt(2 / in), random);
    case Init::he_uniform:
      return fill_uniform(weight, std::sqrt(6 / in), random);
    case Init::xavier_normal:
      return fill_normal(weight, std::sqrt(2 / both), random);
    case Init::xavier_uniform:
      return fill_uniform(weight, std::sqrt(6 / both), random);
    case Init::lecun_normal:
      return fill_normal(weight, std::sqrt(1 / in), random);
    case Init::zeros:
      break;
  }
}

void Initialiser::bias(Tensor& bias, int64_t fan_in) const {
  if (law_ == Init::pytorch)
    fill_uniform(bias, 1 / std::sqrt(static_cast<double>(fan_in)), {seed_, Stream::init, layer_, bias_part});
}

}  // namespace hashgrad
