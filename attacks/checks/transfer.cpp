// The check that attacks another network: what a substitute finds, the model's own gradients must find too.
#include <algorithm>

#include "attacks/checks/check.h"
#include "attacks/substitute.h"

namespace hashgrad {
namespace {

/// The network of the substitute attack, trained on what the model answers: two layers of 200 units, as in
/// Papernot et al. 2017, from at most so many of the images.
constexpr int64_t most_seeds = 150;

Model substitute_for(const Evidence& evidence) {
  const Model& model = evidence.model();
  const Shape& image = model.input_shape();
  Model substitute(fmt::format("{}x{}x{} flatten fc200 relu fc200 relu fc{}", image[0], image[1], image[2],
                               model.classes()),
                   {.dtype = model.dtype(), .seed = evidence.options().seed});
  const Tensor seeds =
      evidence.input().x.to(Device{}).slice(0, 0, std::min(most_seeds, evidence.rows())).contiguous();
  SubstituteOptions options;
  options.training.batch = 32;  // few images make few updates
  options.training.epochs = 8;
  options.training.seed = evidence.options().seed;
  train_substitute(evidence.judge(), substitute, seeds, options);
  return substitute;
}

}  // namespace

Finding check_transfer(Evidence& evidence) {
  const std::string spec = fmt::format("pgd:iters=40,no-early-stop,{}", evidence.ball());
  const Model substitute = substitute_for(evidence);
  const AttackResult& crafted = evidence.attack(spec, substitute, "a substitute");
  const std::vector<int64_t> seen = evidence.judge().predict(crafted.x_adv);
  std::vector<bool> fooled(seen.size());
  for (size_t i = 0; i < seen.size(); ++i)
    fooled[i] = evidence.input().goal().reached(static_cast<int64_t>(i), seen[i]);
  return without_gradients(evidence, "pgd on a substitute that was trained on the model's answers breaks",
                           fooled);
}

}  // namespace hashgrad
