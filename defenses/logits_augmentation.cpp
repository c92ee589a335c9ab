#include "defenses/logits_augmentation.h"

#include <algorithm>

#include "defenses/record.h"
#include "nn/model.h"

namespace hashgrad {

void logits_augmentation(Model& model, double eps) {
  check_strength(eps, "logits-augmentation");
  check_weights_may_change(model, "logits-augmentation");
  const auto& layers = model.spec().layers;
  size_t last = layers.size();
  while (last > 0 && layers[last - 1].kind != LayerSpec::Kind::fc) --last;
  check(last > 0, "logits-augmentation: the model has no fully connected layer");
  const bool alone = std::none_of(layers.begin() + static_cast<std::ptrdiff_t>(last), layers.end(),
                                  [](const LayerSpec& layer) { return layer.branches(); });
  check(alone,
        "logits-augmentation: the last fully connected layer ({}) is only one branch to the class scores",
        to_string(layers[last - 1]));
  record_defence(model, {{"method", "logits-augmentation"}, {"eps", eps}});
  scale_weights(model, {last - 1}, 1 + eps);
}

}  // namespace hashgrad
