#include "attacks/fgsm.h"

#include "attacks/one_step.h"

namespace hashgrad {

Fgsm::Fgsm(Options options) : options_(std::move(options)) { validate({Norm::linf, options_.eps}, "fgsm"); }

std::string Fgsm::repr() const {
  return fmt::format("Fgsm({{.eps = {}, .loss = \"{}\", .own_prediction = {}}})", options_.eps,
                     options_.loss.name(), options_.own_prediction);
}

Crafted Fgsm::craft(const Oracle& oracle, const AttackInput& input) const {
  return one_step(oracle, input, options_.loss, options_.own_prediction,
                  [&](const Tensor& x, const Tensor& gradient) {
                    const Threat ball{Norm::linf, options_.eps};
                    return project(step(x, ball.eps, steepest(gradient, ball.norm)), x, ball);
                  });
}

}  // namespace hashgrad
