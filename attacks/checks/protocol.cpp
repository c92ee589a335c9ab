// Checks of the conditions of the evaluation: arithmetic, storage.
#include <algorithm>
#include <cmath>

#include "attacks/checks/check.h"

namespace hashgrad {

Finding check_arithmetic(Evidence& evidence) {
  if (evidence.model().dtype() == DType::float64)
    return {Verdict::not_applicable, "the model computes in float64"};
  const std::string spec = curve_spec(evidence, 1);
  const Model precise = evidence.model().to(DType::float64);
  const std::vector<bool> single = evidence.broken(spec);
  const std::vector<bool> twice = succeeded(evidence.attack(spec, precise, "float64"));
  const std::vector<bool> gained = without(twice, single);
  const bool same = !notable(count(gained), evidence.rows()) || 20 * count(gained) < evidence.rows();
  return {same ? Verdict::passed : Verdict::masked,
          fmt::format("bim breaks {} of {} images in float32 and {} with the same weights in float64",
                      count(single), evidence.rows(), count(twice)),
          same ? std::vector<int64_t>{} : evidence.samples(gained)};
}

Finding check_rounding(Evidence& evidence) {
  const AttackResult& made = evidence.attack("pgd:iters=40,loss=margin," + evidence.ball());
  const Tensor x_adv = made.x_adv.to(Device{});
  Tensor stored = Tensor::empty(x_adv.shape(), x_adv.dtype());
  for_float_type(x_adv.dtype(), "check", [&]<class T>() {
    std::transform(x_adv.data<T>(), x_adv.data<T>() + x_adv.numel(), stored.data<T>(),
                   [](T v) { return static_cast<T>(std::nearbyint(static_cast<double>(v) * 255) / 255); });
  });
  const std::vector<int64_t> seen = evidence.judge().predict(stored);
  const std::vector<bool> before = succeeded(made);
  std::vector<bool> lost(before.size());
  for (size_t i = 0; i < lost.size(); ++i)
    lost[i] = before[i] && !evidence.input().goal().reached(static_cast<int64_t>(i), seen[i]);
  return {
      Verdict::passed,
      fmt::format("rounded to multiples of 1/255, {} of {} adversarial images are classified rightly again",
                  count(lost), count(before)),
      evidence.samples(lost)};
}

}  // namespace hashgrad
