#include "attacks/fgm.h"

#include "attacks/one_step.h"

namespace hashgrad {

Fgm::Fgm(Options options) : options_(std::move(options)) {
  validate({options_.norm, options_.eps}, "fgm", {Norm::l2, Norm::l1});
}

std::string Fgm::repr() const {
  return fmt::format(
      "Fgm({{.norm = Norm::{}, .eps = {}, .normalise = {}, .loss = \"{}\", .own_prediction = {}}})",
      name_of(options_.norm), options_.eps, options_.normalise, options_.loss.name(),
      options_.own_prediction);
}

std::optional<Threat> Fgm::threat() const {
  return options_.normalise ? std::optional(Threat{options_.norm, options_.eps}) : std::nullopt;
}

Crafted Fgm::craft(const Oracle& oracle, const AttackInput& input) const {
  const Threat ball{options_.norm, options_.eps};
  return one_step(oracle, input, options_.loss, options_.own_prediction,
                  [&](const Tensor& x, const Tensor& gradient) {
                    if (!options_.normalise) return clip(step(x, options_.eps, gradient));
                    if (ball.norm == Norm::l1) return project(step(x, ball.eps, unit_l1(gradient)), x, ball);
                    return ascend(x, ball.eps, gradient, x, ball);
                  });
}

AttackInfo Fgm::info() {
  return {"fgm",
          "x + eps * gradient / its norm, one step (Goodfellow et al., ICLR 2015)",
          {eps_setting(1), norm_setting("l2", {"l2", "l1"}), loss_setting(),
           AttackSetting::flag("own-prediction", "loss of the model's prediction instead of the label's"),
           AttackSetting::flag("raw-gradient", "x + eps * gradient, not normalised")},
          [](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<Fgm>(Options{.norm = parse_norm(s.word("norm")),
                                                 .eps = s.number("eps"),
                                                 .normalise = !s.flag("raw-gradient"),
                                                 .loss = s.word("loss"),
                                                 .own_prediction = s.flag("own-prediction")});
          },
          {"eps=0.5,loss=dlr", "eps=0.5,raw-gradient", "norm=l1,eps=3"}};
}

}  // namespace hashgrad
