#include "attacks/fgm.h"

#include "attacks/one_step.h"

namespace hashgrad {
namespace {

constexpr LibraryRules dense{.step = StepRule::dense}, largest{};

constexpr LibraryProfile profiles[] = {
    {"ch20", Norm::l2, 0.3, 0, 0, 0, dense},
    {"ch20", Norm::l1, 0.3, 0, 0, 0, dense},
    {"ch21", Norm::l2, 0.3, 0, 0, 0, dense},
    {"ch21", Norm::l1, 0.3, 0, 0, 0, dense},
    {"ch31", Norm::l2, 0.3, 0, 0, 0, {.step = StepRule::dense, .floor = 1e-6}},
    {"ch31", Norm::l1, 0.3, 0, 0, 0, {.step = StepRule::tied}},
    {"foolbox3", Norm::l2, 1, 0, 0, 0, {.step = StepRule::dense, .floor = 1e-12}},
    {"foolbox3", Norm::l1, 1, 0, 0, 0, {.step = StepRule::dense, .floor = 1e-12}},
    {"art", Norm::l2, 0.3, 0, 0, 0, dense},
    {"art", Norm::l1, 0.3, 0, 0, 0, largest},
    {"advertorch", Norm::l2, 0.3, 0, 0, 0, {.step = StepRule::dense, .floor = 1e-6}},
};

Fgm::Options options_of(const AttackSettings& s) {
  Fgm::Options options{.norm = parse_norm(s.word("norm")),
                       .eps = s.number("eps"),
                       .normalise = !s.flag("raw-gradient"),
                       .loss = s.word("loss"),
                       .own_prediction = s.flag("own-prediction")};
  if (s.word("compat") == "none") return options;
  const LibraryProfile own = profile_of(profiles, s.word("compat"), options.norm, "fgm");
  options.eps = s.number("eps", own.eps);
  options.rules = own.rules;
  return options;
}

}  // namespace

Fgm::Fgm(Options options) : options_(std::move(options)) {
  validate({options_.norm, options_.eps}, "fgm", {Norm::l2, Norm::l1});
}

std::string Fgm::repr() const {
  return fmt::format(
      "Fgm({{.norm = Norm::{}, .eps = {}, .normalise = {}, .loss = \"{}\", .own_prediction = {}{}}})",
      name_of(options_.norm), options_.eps, options_.normalise, options_.loss.name(), options_.own_prediction,
      repr_of(options_.rules, Options{}.rules));
}

std::optional<Threat> Fgm::threat() const {
  return options_.normalise ? std::optional(Threat{options_.norm, options_.eps}) : std::nullopt;
}

Crafted Fgm::craft(const Oracle& oracle, const AttackInput& input) const {
  const Threat ball{options_.norm, options_.eps};
  return one_step(oracle, input, options_.loss, options_.own_prediction,
                  [&](const Tensor& x, const Tensor& gradient) {
                    if (!options_.normalise) return clip(step(x, options_.eps, gradient));
                    if (on_device()) return ascend(x, ball.eps, gradient, x, ball);
                    return project(step(x, ball.eps, along(gradient, ball.norm, options_.rules)), x, ball);
                  });
}

AttackInfo Fgm::info() {
  return {"fgm",
          "x + eps * gradient / its norm, one step (Goodfellow et al., ICLR 2015)",
          {compat_setting(profiles), eps_setting(1), norm_setting("l2", {"l2", "l1"}), loss_setting(),
           AttackSetting::flag("own-prediction", "loss of the model's prediction instead of the label's"),
           AttackSetting::flag("raw-gradient", "x + eps * gradient, not normalised")},
          [](const AttackSettings& s) { return std::make_unique<Fgm>(options_of(s)); },
          {"eps=0.5,loss=dlr", "eps=0.5,raw-gradient", "norm=l1,eps=3", "compat=ch31,norm=l1,eps=3"}};
}

}  // namespace hashgrad
