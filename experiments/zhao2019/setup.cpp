#include "experiments/zhao2019/setup.h"

#include <fmt/format.h>

namespace hashgrad::zhao2019 {
namespace {

/// The rate falls by 10 after one half, three quarters and seven eighths of the epochs: the paper's three
/// decays, whose places it does not give.
Training training(int64_t images, int64_t epochs, int64_t batch, const char* optimizer) {
  return {images, epochs,    batch,
          0.01,   optimizer, fmt::format("step:{},{},{}", epochs / 2, 3 * epochs / 4, 7 * epochs / 8)};
}

Setup smoke() {
  const Training short_run{1000, 3, 32, 0.02, "sgd:momentum=0.9", "cosine"};
  return {
      .network = "1x28x28 norm(0.5;0.5) conv6k5 relu maxpool2 conv12k5 relu maxpool2 flatten fc32 relu fc10",
      .data = "synthetic-digits",
      .densities = {0.5, 0.05},
      .widths = {4, 8, 16},
      .base = {2000, 6, 32, 0.02, "sgd:momentum=0.9", "cosine"},
      .retraining = short_run,
      .attacked = 40,
      .scrutinised = 20,
      .f3_eps = {0.02, 0.1},
      .f3_iters = {3},
      .square_questions = 50};
}

Setup reduced() {
  const Training run = training(30000, 8, 64, "sgd:momentum=0.9");
  return {.densities = {0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02},
          .widths = {4, 8, 12, 16, 24, 32},
          .base = run,
          .retraining = run,
          .attacked = 2000,
          .scrutinised = 300,
          .f3_eps = {0.005, 0.01, 0.02, 0.05},
          .f3_iters = {4, 12},
          .square_questions = 500};
}

Setup full() {
  const Training run = training(60000, 350, 256, "sgd:momentum=0");
  return {.densities = {0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01},
          .widths = {4, 8, 10, 12, 16, 20, 24, 32},
          .base = run,
          .retraining = run,
          .attacked = 10000,
          .scrutinised = 1000,
          .f3_eps = {0.005, 0.01, 0.02, 0.05, 0.1},
          .f3_iters = {4, 8, 12},
          .square_questions = 1000};
}

/// CifarNet instead (C5, C7): no augmentation, L2 of 1e-4; momentum and the batch are ours. Undefended, such
/// a network has nothing left to tell at the radius of MNIST.
void move_to_cifar10(Setup& setup, study::Scale scale) {
  constexpr const char* sgd = "sgd:momentum=0.9,weight_decay=1e-4,weights_only";
  setup.network = "cifarnet";
  setup.telling_radius = 0.008;  // 2/255
  setup.published = {0.02, 12, 3};
  switch (scale) {
    case study::Scale::smoke:
      setup.network =
          "3x32x32 standardise conv6k5s2nb bn(eps=0.001) relu maxpool2 conv12k3nb bn(eps=0.001) relu "
          "avgpool5 conv10k1 flatten";
      setup.base = {500, 2, 25, 0.02, sgd, "cosine"};
      setup.retraining = {200, 1, 25, 0.02, sgd, "cosine"};
      setup.attacked = 10;
      setup.scrutinised = 5;
      break;
    case study::Scale::reduced:
      setup.densities = {0.5, 0.2, 0.05};
      setup.widths = {4, 8, 12, 32};
      setup.base = training(20000, 6, 64, sgd);
      setup.retraining = training(4000, 6, 64, sgd);
      setup.attacked = 200;
      setup.scrutinised = 80;
      setup.square_questions = 100;
      break;
    case study::Scale::full:
      setup.base = setup.retraining = training(50000, 300, 256, sgd);
      break;
  }
}

Search iterative(const std::string& name, const char* attack, double eps, int64_t iters, const Setup& setup) {
  return {name, fmt::format("{}:eps={:g},iters={},ball={},no-early-stop", attack, eps, iters, setup.ball),
          2 * static_cast<double>(iters)};
}

}  // namespace

std::string Variant::label() const {
  if (dense()) return "dense";
  return width == 0 ? fmt::format("density {:g}", density) : fmt::format("{} bits", width);
}

FixedPointFormat format_of(int width) { return {width, width == 4 ? 1 : width == 8 ? 2 : 4}; }

std::vector<Variant> Setup::pruned() const {
  std::vector<Variant> result;
  for (const double density : densities) result.push_back({.density = density});
  return result;
}

std::vector<Variant> Setup::quantised() const {
  std::vector<Variant> result;
  for (const int width : widths) result.push_back({.width = width});
  return result;
}

Panel pruning_panel(const Setup& setup) {
  return {"2", "f2_pruning", "density", setup.pruned(), [](const Variant& v) { return v.density; }};
}

Panel quantisation_panel(const Setup& setup) {
  return {"4", "f4_fixed_point", "bits", setup.quantised(),
          [](const Variant& v) { return static_cast<double>(v.width); }};
}

Setup setup_of(study::Scale scale, const std::string& data) {
  Setup setup = scale == study::Scale::full ? full() : scale == study::Scale::reduced ? reduced() : smoke();
  if (data == "cifar10") move_to_cifar10(setup, scale);
  if (!data.empty()) setup.data = data;
  return setup;
}

std::vector<Search> paper_attacks(const Setup& setup) {
  const bool text = setup.attack_settings == "text";
  const double overshoot = text ? 0.02 : 0.01;
  const PublishedSettings steps = text ? PublishedSettings{0.02, 12, 12} : setup.published;
  return {iterative("IFGSM", "ifgsm", 0.02, 12, setup),
          iterative("IFGM", "ifgm", steps.ifgm_eps, steps.ifgm_iters, setup),
          {"DeepFool", fmt::format("deepfool:overshoot={:g},iters={}", overshoot, steps.deepfool_iters),
           11 * static_cast<double>(steps.deepfool_iters)}};
}

double ifgsm_budget(const Setup& setup) { return setup.ball == "prev" ? 12 * 0.02 : 0.02; }

Search figure3_attack(const std::string& name, double eps, int64_t iters, const Setup& setup) {
  return iterative(name, name == "IFGSM" ? "ifgsm" : "ifgm", eps, iters, setup);
}

std::vector<Search> stronger_attacks(double radius, bool quantised, const Setup& setup) {
  const std::string ball = fmt::format("eps={:g}", radius);
  const double questions = static_cast<double>(setup.square_questions);
  std::vector<Search> searches = {
      {"PGD, margin", "pgd:iters=40,loss=margin," + ball, 80},
      {"APGD-CE", "apgd-ce:iters=100,loss=ce-exact," + ball, 200},
      {"APGD-DLR", "apgd-dlr:iters=100," + ball, 200},
      {"Square", fmt::format("square:iters={},{}", setup.square_questions, ball), questions}};
  if (quantised) searches.push_back({"PGD, float gradients", searches[0].spec, 80, true});
  return searches;
}

std::vector<double> radii(const Setup& setup) { return {setup.telling_radius, ifgsm_budget(setup)}; }

Search distance_attack() { return {"DeepFool", "deepfool:iters=50", 55}; }

}  // namespace hashgrad::zhao2019
