#include "attacks/fgm.h"

#include "attacks/one_step.h"

namespace hashgrad {

Fgm::Fgm(Options options) : options_(std::move(options)) { validate({Norm::l2, options_.eps}, "fgm"); }

std::string Fgm::repr() const {
  return fmt::format("Fgm({{.eps = {}, .normalise = {}, .loss = \"{}\", .own_prediction = {}}})",
                     options_.eps, options_.normalise, options_.loss.name(), options_.own_prediction);
}

std::optional<Threat> Fgm::threat() const {
  return options_.normalise ? std::optional(Threat{Norm::l2, options_.eps}) : std::nullopt;
}

Crafted Fgm::craft(const Oracle& oracle, const AttackInput& input) const {
  return one_step(oracle, input, options_.loss, options_.own_prediction,
                  [&](const Tensor& x, const Tensor& gradient) {
                    if (!options_.normalise) return clip(step(x, options_.eps, gradient));
                    return ascend(x, options_.eps, gradient, x, {Norm::l2, options_.eps});
                  });
}

AttackInfo Fgm::info() {
  return {"fgm",
          "x + eps * gradient / its L2 norm, one step (Goodfellow et al., ICLR 2015)",
          {eps_setting(1), loss_setting(),
           AttackSetting::flag("own-prediction", "loss of the model's prediction instead of the label's"),
           AttackSetting::flag("raw-gradient", "x + eps * gradient, not normalised")},
          [](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<Fgm>(Options{.eps = s.number("eps"),
                                                 .normalise = !s.flag("raw-gradient"),
                                                 .loss = s.word("loss"),
                                                 .own_prediction = s.flag("own-prediction")});
          },
          {"eps=0.5,loss=dlr", "eps=0.5,raw-gradient"}};
}

}  // namespace hashgrad
