#include "experiments/wang2018/setup.h"

#include <fmt/format.h>

namespace hashgrad::wang2018 {
namespace {

constexpr const char* fgsm = "fgsm:eps=0.3";
constexpr const char* bim = "bim:eps=0.3,step=0.05,iters=10,no-early-stop";

Setup smoke() {
  return {
      .network = "1x28x28 conv4k3p1 relu maxpool2 conv8k3p1 relu maxpool2 flatten fc32 relu fc32 relu fc10",
      .data = "synthetic-digits",
      .base = {2000, 8, 32},
      .pruning = {.rounds = 4},
      .retraining = {300, 1, 32},
      .strengths = {0, 5, 20, 100},
      .attacked = 40,
      .scrutinised = 20,
      .cw_images = 2,
      .cw_iters = 50,
      .cw_lr = 0.1,
      .square_questions = 50};
}

Setup reduced() {
  return {.base = {30000, 6, 256},
          .retraining = {10000, 1, 256},
          .strengths = {0, 1, 2, 5, 10, 20, 40, 100},
          .attacked = 1000,
          .scrutinised = 200,
          .cw_images = 10,
          .cw_iters = 100,
          .cw_lr = 0.1,
          .square_questions = 500};
}

Setup full() {
  return {.base = {60000, 12, 1024},
          .retraining = {60000, 2, 1024},
          .strengths = {0, 1, 2, 5, 10, 15, 20, 30, 40, 60, 100},
          .attacked = 10000,
          .scrutinised = 1000,
          .cw_images = 10,
          .cw_iters = 1000,
          .cw_lr = 0.01,
          .square_questions = 1000};
}

/// C0 to C2 instead: D4, D5 and D7 are others there. 0.031, about 8/255, is what CIFAR-10 is usually attacked
/// with.
void move_to_cifar10(Setup& setup, study::Scale scale) {
  setup.names = {"C0", "C1", "C2"};
  setup.network = "wang2018-cifar";
  setup.eps = setup.recommended_eps = 10;
  setup.other_eps = "has had 40, 100 and 1000 as defaults";
  setup.usual_radius = 0.031;
  switch (scale) {
    case study::Scale::smoke:
      setup.network =
          "3x32x32 conv4k3p1 relu maxpool2 conv8k3p1 relu maxpool2 flatten fc32 relu fc32 relu fc10";
      setup.base = {500, 4, 25};
      setup.retraining = {100, 1, 25};
      break;
    case study::Scale::reduced:
      setup.base = {30000, 8, 200};
      setup.retraining = {10000, 1, 200};
      break;
    case study::Scale::full:
      setup.base = {50000, 16, 200};
      setup.retraining = {50000, 2, 200};
      break;
  }
}

}  // namespace

Setup setup_of(study::Scale scale, const std::string& data) {
  Setup setup = scale == study::Scale::full ? full() : scale == study::Scale::reduced ? reduced() : smoke();
  if (data == "cifar10") move_to_cifar10(setup, scale);
  if (!data.empty()) setup.data = data;
  return setup;
}

const char* name_of(Aim aim) {
  return aim == Aim::away ? "untargeted" : aim == Aim::next ? "next class" : "each class";
}

std::vector<Search> paper_attacks(const Setup& setup) {
  return {{"FGSM", fgsm, Aim::away, setup.attacked, 2},
          {"FGSM, targeted", fgsm, Aim::next, setup.attacked, 2},
          {"BIM", bim, Aim::away, setup.attacked, 21},
          {"BIM, targeted", bim, Aim::next, setup.attacked, 21},
          {"C&W", "cw-l2:c0=10,c-steps=1,iters=100,lr=0.1", Aim::all, setup.cw_images, 9 * 200}};
}

std::vector<Search> stronger_attacks(const Setup& setup) {
  const std::string exact = ",loss=ce-exact", ball = ",eps=0.3";
  const int64_t n = setup.scrutinised;
  const double questions = static_cast<double>(setup.square_questions),
               cw = static_cast<double>(setup.cw_iters);
  std::vector<Search> searches{
      {"FGSM, exact", fgsm + exact, Aim::away, n, 2},
      {"FGSM, exact, targeted", fgsm + exact, Aim::next, n, 2},
      {"BIM, exact", bim + exact, Aim::away, n, 21},
      {"BIM, exact, targeted", bim + exact, Aim::next, n, 21},
      {"BIM, float64", bim, Aim::away, n, 42, true},
      {"PGD, margin", "pgd:iters=40,loss=margin" + ball, Aim::away, n, 80},
      {"APGD-DLR", "apgd-dlr:iters=100" + ball, Aim::away, n, 200},
      {"Square", fmt::format("square:iters={}", setup.square_questions) + ball, Aim::away, n, questions}};
  if (setup.usual_radius > 0)
    searches.push_back({fmt::format("APGD-DLR, {:g}", setup.usual_radius),
                        fmt::format("apgd-dlr:iters=100,eps={:g}", setup.usual_radius), Aim::away, n, 200});
  searches.push_back({"C&W, 9 c",
                      fmt::format("cw-l2:c0=1e-3,c-steps=9,iters={},lr={:g}", setup.cw_iters, setup.cw_lr),
                      Aim::all, setup.cw_images, 9 * 9 * 2 * cw});
  return searches;
}

std::vector<Search> figure_attacks(const Setup& setup) {
  return {{"FGSM", fgsm, Aim::away, setup.scrutinised, 2},
          {"BIM", bim, Aim::away, setup.scrutinised, 21},
          {"FGSM, exact", std::string(fgsm) + ",loss=ce-exact", Aim::away, setup.scrutinised, 2}};
}

}  // namespace hashgrad::wang2018
