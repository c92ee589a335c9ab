#include "experiments/liu2018/study.h"

#include <algorithm>
#include <cmath>

#include "defenses/gradient_inhibition.h"
#include "experiments/progress.h"
#include "experiments/report/picture.h"
#include "nn/train.h"

namespace hashgrad::liu2018 {
namespace {

constexpr int64_t pictures = 12;
constexpr double picture_eps = 0.3;
constexpr int64_t picture_elements = 40;

/// One bar over several passes of equal size.
class Stages {
 public:
  Stages(const std::string& label, int64_t stages, bool quiet) : bar_(label, stages * scale, quiet, "") {}
  /// For GrowOptions::progress of the stage that runs now.
  std::function<void(double)> share() {
    return [this](double s) { bar_.update(done_ + std::llround(s * scale)); };
  }
  void next() { bar_.update(done_ += scale); }

 private:
  static constexpr int64_t scale = 100;
  Progress bar_;
  int64_t done_ = 0;
};

Tensor first_images(const Dataset& test, int64_t n, const Model& model) {
  return test.images_float(0, std::min(n, test.size()), model.dtype());
}

/// Rows that A-ALG1 counts as a success at the largest budget.
Rate all_changed(const Growth& growth) {
  return {growth.cumulative(growth.budgets.size() - 1), growth.rows()};
}

Rate zero_share(const Growth& growth) {
  return {std::count(growth.zero_gradient.begin(), growth.zero_gradient.end(), true), growth.rows()};
}

Inhibition measure_inhibition(const Model& plain, double tau, const Dataset& test,
                              const StudyOptions& options, Stages& stages) {
  Model model = plain.clone();
  if (tau > 0) gradient_inhibition_1(model, tau, options.layers);
  const Tensor x = first_images(test, options.inhibited, model);
  GrowOptions grow{options.eps, /*fixed=*/false, options.batch, stages.share()};

  Inhibition result;
  result.tau = tau;
  const Growth as_published = grow_fgsm(model, x, "ce", grow);
  stages.next();
  grow.progress = stages.share();
  result.success = all_changed(as_published);
  result.zero_gradients = zero_share(as_published);
  result.exact_success = all_changed(grow_fgsm(model, x, "ce-exact", grow));
  stages.next();
  result.gradients =
      gradient_histogram(Oracle(model, {.batch = options.batch}).gradient(x, {}, "ce").gradient);
  const Score clean = evaluate(model, test.first(x.size(0)), options.batch);
  result.accuracy = {clean.correct, clean.samples};
  stages.next();
  return result;
}

Gallery gallery(const std::string& name, const std::string& caption, const Tensor& x, const Tensor& x_adv) {
  Tensor change = Tensor::empty(x.shape(), DType::float64);
  const std::vector<double> a = x.to(DType::float64).to_vector<double>();
  const std::vector<double> b = x_adv.to(DType::float64).to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) change.data<double>()[i] = b[i] - a[i];
  return {
      name, caption,
      report::png_grid(
          {{x, report::Shade::pixels}, {change, report::Shade::signs}, {x_adv, report::Shade::pixels}}, 2)};
}

}  // namespace

std::string network_spec(const std::string& rate) {
  const std::string at = rate.empty() ? "" : "@" + rate;
  return fmt::format(
      "1x28x28 conv64k5p2{0} relu maxpool2 conv128k5p2{0} relu maxpool2 flatten fc512{0} relu fc10{0}", at);
}

std::string network_name(const Model& model) {
  const auto& layers = model.spec().layers;
  const auto last =
      std::find_if(layers.rbegin(), layers.rend(), [](const LayerSpec& l) { return l.has_weight(); });
  if (last == layers.rend() || !last->hashed()) return "uncompressed";
  const double inverse = 1 / last->rate;
  if (std::abs(inverse - std::round(inverse)) < 1e-9) return fmt::format("HashNet(1/{:.0f})", inverse);
  return fmt::format("HashNet({:g})", last->rate);
}

NetworkResult measure(const Model& model, const Dataset& test, const StudyOptions& options) {
  NetworkResult result;
  result.name = network_name(model);
  result.parameters = model.parameter_count();
  Stages stages("attack " + result.name, 3 + 3 * static_cast<int64_t>(options.taus.size()), options.quiet);

  const Score clean = evaluate(model, test, options.batch);
  result.accuracy = {clean.correct, clean.samples};
  result.loss = clean.loss;
  stages.next();

  Model attacked = model.clone();
  const Tensor x = first_images(test, options.attacked, model);
  result.hfgsm = grow_fgsm(attacked, x, "ce", {options.eps, true, options.batch, stages.share()});
  stages.next();
  result.hjsma =
      grow_jsma(attacked, x, Outputs::probs, {options.elements, false, options.batch, stages.share()});
  stages.next();
  for (double tau : options.taus)
    result.inhibition.push_back(measure_inhibition(model, tau, test, options, stages));
  return result;
}

std::vector<Gallery> galleries(const Model& model, const Dataset& test, const StudyOptions& options) {
  const double tau = options.taus.back();
  Model plain = model.clone(), inhibited = model.clone();
  gradient_inhibition_1(inhibited, tau, options.layers);
  const Tensor x = first_images(test, pictures, model);
  const std::string name = network_name(model);
  std::string stem;
  for (char c : name) stem += c == '/' || c == '(' ? "_" : c == ')' ? "" : std::string(1, c);
  const auto fgsm = [&](Model& m, const char* loss) {
    return fgsm_images(m, x, loss, picture_eps, options.batch);
  };
  return {
      gallery(
          stem + "_hfgsm",
          fmt::format("{}, HFGSM at eps {}: originals, what was added (amplified; gray is zero), results.",
                      name, picture_eps),
          x, fgsm(plain, "ce")),
      gallery(stem + "_hjsma",
              fmt::format("{}, HJSMA with {} elements: originals, what was added, results.", name,
                          picture_elements),
              x, jsma_images(plain, x, Outputs::probs, picture_elements, options.batch)),
      gallery(
          stem + "_gi1_ce",
          fmt::format(
              "{} under gradient inhibition, tau {}, HFGSM at eps {} with the float32 cross-entropy: where "
              "the middle row is plain gray, the gradient is exactly zero and no attack took place.",
              name, tau, picture_eps),
          x, fgsm(inhibited, "ce")),
      gallery(stem + "_gi1_exact", "The same network and eps along the exact cross-entropy direction.", x,
              fgsm(inhibited, "ce-exact")),
  };
}

}  // namespace hashgrad::liu2018
