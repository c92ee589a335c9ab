#include "attacks/ifgm.h"

#include "attacks/climb.h"

namespace hashgrad {
namespace {

const char* name_of(Ifgm::Ball ball) { return ball == Ifgm::Ball::prev ? "prev" : "origin"; }

AttackInfo info_of(bool sign, const char* name, const char* about) {
  return {name,
          about,
          {eps_setting(0.02), iters_setting(12),
           AttackSetting::word("ball", "prev", {"prev", "origin"},
                               "clip to eps around the previous iterate or the image"),
           loss_setting(), AttackSetting::flag("no-early-stop", "all steps, and the last iterate")},
          [sign](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<Ifgm>(
                Ifgm::Options{.sign = sign,
                              .eps = s.number("eps"),
                              .iters = s.integer("iters"),
                              .ball = s.word("ball") == "prev" ? Ifgm::Ball::prev : Ifgm::Ball::origin,
                              .early_stop = !s.flag("no-early-stop"),
                              .loss = s.word("loss")});
          },
          {"eps=0.04,iters=4", "ball=origin,eps=0.1,iters=3,no-early-stop"}};
}

}  // namespace

Ifgm::Ifgm(Options options) : options_(std::move(options)) {
  validate({Norm::linf, options_.eps}, name().c_str());
  validate_count(options_.iters, "iters", name());
}

std::string Ifgm::repr() const {
  return fmt::format(
      "Ifgm({{.sign = {}, .eps = {}, .iters = {}, .ball = Ifgm::Ball::{}, .early_stop = {}, .loss = "
      "\"{}\"}})",
      options_.sign, options_.eps, options_.iters, name_of(options_.ball), options_.early_stop,
      options_.loss.name());
}

std::optional<Threat> Ifgm::threat() const {
  return options_.ball == Ball::origin ? std::optional(Threat{Norm::linf, options_.eps}) : std::nullopt;
}

Crafted Ifgm::craft(const Oracle& oracle, const AttackInput& input) const {
  const auto direction = [&](const Tensor& gradient, Tensor&) {
    return options_.sign ? steepest(gradient, Norm::linf) : gradient;
  };
  const auto move = [&](const Tensor& x, const Tensor& along, const Tensor& origin) {
    return project(step(x, options_.eps, along), options_.ball == Ball::prev ? x : origin,
                   {Norm::linf, options_.eps});
  };
  return climb(oracle, input, {options_.iters, options_.early_stop, options_.loss, direction, move});
}

AttackInfo Ifgm::sign_info() {
  return info_of(true, "ifgsm", "steps of eps sign(gradient) (C-ALG1; Kurakin et al., 2017)");
}

AttackInfo Ifgm::info() { return info_of(false, "ifgm", "steps of eps gradient, as long as it is (C-ALG1)"); }

}  // namespace hashgrad
