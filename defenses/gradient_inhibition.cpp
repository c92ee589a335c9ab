#include "defenses/gradient_inhibition.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"
#include "compression/layers.h"
#include "defenses/record.h"
#include "nn/randomised.h"

namespace hashgrad {

void gradient_inhibition_1(Model& model, double eps, const std::string& layers) {
  check_strength(eps, "gi1");
  check_weights_may_change(model, "gi1");
  const std::vector<size_t> chosen = select_layers(model.spec(), layers, "gi1");
  record_defence(model, {{"method", "gi1"}, {"eps", eps}, {"layers", layers}});
  for (const size_t i : chosen) {
    Tensor& weight = model.parameter(model.parameter_name(i, "weight")).value();
    weight.copy_from(weight + eps * sign(weight));
  }
}

void gradient_inhibition_2(Model& model, double eps, const std::string& layers) {
  check_strength(eps, "gi2");
  check_weights_may_change(model, "gi2");
  const std::vector<size_t> chosen = select_layers(model.spec(), layers, "gi2");
  record_defence(model, {{"method", "gi2"}, {"eps", eps}, {"layers", layers}});
  scale_weights(model, chosen, 1 + eps);
}

void gradient_inhibition_3(Model& model, double eps, Redraw redraw, const std::string& layers,
                           uint64_t seed) {
  check_strength(eps, "gi3");
  if (redraw == Redraw::once) check_weights_may_change(model, "gi3");
  const std::vector<size_t> chosen = select_layers(model.spec(), layers, "gi3");
  record_defence(model,
                 {{"method", "gi3"}, {"eps", eps}, {"layers", layers}, {"at", chosen}, {"draws", "forward"}});
  if (redraw == Redraw::once) model = realisation(model, {.seed = seed});
}

}  // namespace hashgrad
