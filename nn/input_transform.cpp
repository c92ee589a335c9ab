#include "nn/input_transform.h"

#include <algorithm>
#include <array>

#include "autograd/op_info.h"
#include "nn/transforms/bit_depth.h"
#include "nn/transforms/jpeg.h"
#include "nn/transforms/median.h"

namespace hashgrad {
namespace {

const std::array<TransformKind, 4> kinds{
    {{"bit-depth", "bits", 1, 8,
      [](int64_t bits) -> InputTransformPtr { return std::make_shared<BitDepth>(bits); }},
     {"median", "size", 2, 15,
      [](int64_t size) -> InputTransformPtr { return std::make_shared<Median>(size); }},
     {"jpeg", "quality", 1, 100, [](int64_t quality) -> InputTransformPtr { return jpeg(quality); }},
     {"feature-distillation", "step", 1, 254,
      [](int64_t step) -> InputTransformPtr { return feature_distillation(step); }}}};

}  // namespace

Tensor InputTransform::backward(const Tensor&, const Tensor& dy, int64_t) const {
  return Tensor::zeros(dy.shape(), dy.dtype());
}

const TransformKind* find_transform(const std::string& method) {
  const auto found =
      std::find_if(kinds.begin(), kinds.end(), [&](auto& kind) { return method == kind.method; });
  return found == kinds.end() ? nullptr : found;
}

InputTransformPtr make_input_transform(const std::string& method, int64_t value) {
  const TransformKind* kind = find_transform(method);
  check(kind != nullptr, "input transform: '{}' is none of bit-depth, median, jpeg, feature-distillation",
        method);
  check(kind->low <= value && value <= kind->high, "{}: {} = {}, {} to {} expected", method, kind->setting,
        value, kind->low, kind->high);
  return kind->make(value);
}

Tensor TransformInput::forward(Needs needs, const Tensor& in) {
  check(in.rank() == 4, "{}: x of shape {}, [N,C,H,W] expected", name, in.shape());
  const Tensor here = in.to(Device{}).contiguous();
  if (needs[0] && !stand_in) x = here;
  return transform->forward(here).to(in.device());
}

Gradients<1> TransformInput::backward(Needs, const Tensor& dy, int64_t copies) const {
  if (stand_in) return {dy};
  return {transform->backward(x, dy.to(Device{}).contiguous(), copies).to(dy.device())};
}

namespace {

OpInfo transform_row(const char* name, const char* formula, const char* method, int64_t value,
                     std::vector<std::vector<Shape>> samples, const char* no_gradient) {
  return {.name = name,
          .formula = formula,
          .call = [transform = make_input_transform(method, value)](
                      const std::vector<Variable>& in) { return transform_input(in[0], transform, false); },
          .samples = std::move(samples),
          .domain = OpInfo::Domain::unit,
          .no_gradient = no_gradient};
}

constexpr const char* constant = "constant almost everywhere";

const RegisterOp rows[] = {
    RegisterOp(transform_row("bit_depth", "round(x (2^b - 1)) / (2^b - 1), b = 3", "bit-depth", 3,
                             {{{2, 3, 5, 4}}, {{0, 1, 2, 2}}}, constant)),
    RegisterOp(transform_row("median", "upper median of each 2x2 window, the image mirrored at its edges",
                             "median", 2, {{{2, 3, 5, 4}}, {{1, 1, 1, 3}}, {{0, 1, 2, 2}}}, "")),
    RegisterOp(transform_row("jpeg", "decode(encode(x)) at quality 75", "jpeg", 75,
                             {{{2, 3, 9, 8}}, {{1, 1, 3, 17}}, {{0, 1, 2, 2}}}, constant)),
    RegisterOp(transform_row("feature_distillation", "the same with its own quantisation table",
                             "feature-distillation", 40, {{{1, 3, 9, 8}}, {{2, 1, 16, 3}}}, constant))};

}  // namespace
}  // namespace hashgrad
