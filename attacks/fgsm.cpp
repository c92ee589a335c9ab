#include "attacks/fgsm.h"

#include "attacks/library_rules.h"
#include "attacks/one_step.h"

namespace hashgrad {
namespace {

// One step of sign(gradient) is the same everywhere; what it is without settings is not.
constexpr LibraryProfile profiles[] = {
    {"ta35", Norm::linf, 8.0 / 255}, {"ch20", Norm::linf, 0.3},     {"ch21", Norm::linf, 0.3},
    {"ch31", Norm::linf, 0.3},       {"foolbox3", Norm::linf, 0.3}, {"art", Norm::linf, 0.3},
    {"advertorch", Norm::linf, 0.3},
};

}  // namespace

Fgsm::Fgsm(Options options) : options_(std::move(options)) { validate({Norm::linf, options_.eps}, "fgsm"); }

std::string Fgsm::repr() const {
  return fmt::format("Fgsm({{.eps = {}, .loss = \"{}\", .own_prediction = {}}})", options_.eps,
                     options_.loss.name(), options_.own_prediction);
}

Crafted Fgsm::craft(const Oracle& oracle, const AttackInput& input) const {
  return one_step(oracle, input, options_.loss, options_.own_prediction,
                  [&](const Tensor& x, const Tensor& gradient) {
                    return ascend(x, options_.eps, gradient, x, {Norm::linf, options_.eps});
                  });
}

AttackInfo Fgsm::info() {
  return {
      "fgsm",
      "x + eps * sign(gradient), one step (Goodfellow et al., ICLR 2015)",
      {compat_setting(profiles), eps_setting(0.3), loss_setting(),
       AttackSetting::flag("own-prediction", "loss of the model's prediction instead of the label's")},
      [](const AttackSettings& s) -> std::unique_ptr<Attack> {
        const std::string library = s.word("compat");
        const double eps = library == "none" ? 0.3 : profile_of(profiles, library, Norm::linf, "fgsm").eps;
        return std::make_unique<Fgsm>(Options{
            .eps = s.number("eps", eps), .loss = s.word("loss"), .own_prediction = s.flag("own-prediction")});
      },
      {"eps=0.1", "eps=0.1,loss=margin,own-prediction"}};
}

}  // namespace hashgrad
