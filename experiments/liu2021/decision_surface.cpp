// B-F1: the decision surface Z1 - Z2 of networks that learn the logical AND of two numbers (B7), plain and
// hashed. The paper shows two pictures and calls the hashed one flatter; here that is a number, over seeds.
#include <cmath>

#include "core/random.h"
#include "experiments/liu2021/tables.h"
#include "nn/evaluate.h"
#include "nn/models/zoo.h"

namespace hashgrad::liu2021 {
namespace {

using study::Json;

constexpr const char* and_network = "liu2021-and";
constexpr double and_rate = 0.2;       // of all layers of the hashed networks
constexpr double and_lr = 0.01;        // Adam's; the paper gives no training but 100 epochs
constexpr int64_t and_tested = 10000;  // points, other than those of the training
constexpr int64_t and_side = 41;       // the grid has so many points a side, corners included
constexpr uint64_t and_seeds = 10;     // networks of each kind
/// 97.5 % quantile of Student's t with and_seeds - 1 degrees of freedom.
constexpr double student = 2.26215716;
static_assert(and_seeds == 10);

/// Points of the unit square, [n,1,1,2]; class 1 where both coordinates round to 1.
Dataset and_points(int64_t n, uint64_t seed, Split split) {
  Random random(seed, Stream::synthetic, static_cast<uint64_t>(split));
  Dataset data{"and", Tensor::empty({n, 1, 1, 2}), Tensor::empty({n}, DType::int64), 2, {}};
  float* x = data.images.data<float>();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t axis = 0; axis < 2; ++axis) x[2 * i + axis] = random.uniform();
    data.labels.data<int64_t>()[i] = x[2 * i] >= 0.5f && x[2 * i + 1] >= 0.5f;
  }
  return data;
}

/// Row by row from x2 = 0 on, each from x1 = 0 on: [side^2,1,1,2].
Tensor and_grid() {
  Tensor x = Tensor::empty({and_side * and_side, 1, 1, 2});
  const auto place = [](int64_t i) { return static_cast<float>(i) / static_cast<float>(and_side - 1); };
  for (int64_t i = 0; i < and_side * and_side; ++i) {
    x.data<float>()[2 * i] = place(i % and_side);
    x.data<float>()[2 * i + 1] = place(i / and_side);
  }
  return x;
}

/// Z1 - Z2 and its gradient at the points of the grid: "surface" [side^2], and the means of the gradient's
/// length, "slope", and of |Z1 - Z2|, "height".
Json surface_of(const Model& model) {
  const Tensor x = and_grid();
  const int64_t n = x.size(0);
  Tensor difference = Tensor::zeros({1, n, 2}, DType::float32);
  for (int64_t i = 0; i < n; ++i) {
    difference.data<float>()[2 * i] = 1;
    difference.data<float>()[2 * i + 1] = -1;
  }
  const auto [logits, gradient] = Oracle(model).vjp(x, difference, Outputs::logits);
  Json surface = Json::array();
  double slope = 0, height = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float *z = logits.data<float>() + 2 * i, *g = gradient.data<float>() + 2 * i;
    surface.push_back(z[0] - z[1]);
    slope += std::hypot(g[0], g[1]);
    height += std::abs(z[0] - z[1]);
  }
  return {{"surface", surface},
          {"slope", slope / static_cast<double>(n)},
          {"height", height / static_cast<double>(n)}};
}

Spec and_spec(bool hashed) {
  Spec spec = spec_of(and_network);
  for (LayerSpec& layer : spec.layers)
    if (layer.has_weight() && hashed) layer.rate = and_rate;
  return spec;
}

/// The network of one seed, in the study.
std::string declare_and(Laboratory& lab, bool hashed, uint64_t seed) {
  const int64_t points = lab.protocol.surface_points, epochs = lab.protocol.surface_epochs;
  const std::string label = fmt::format("AND{}, seed {}", hashed ? " hashed" : "", seed);
  lab.cells.declare(study::Network{
      .label = label,
      .settings = {{"network", and_network},
                   {"rate", hashed ? and_rate : 0},
                   {"data", "and"},
                   {"training",
                    {{"points", points}, {"epochs", epochs}, {"batch", train_batch}, {"lr", and_lr}}},
                   {"seed", seed}},
      .flops = study::training_flops(and_spec(hashed), points, epochs),
      .networks = {},
      .make = [hashed, seed, points, epochs](const std::string&) {
        Model model(and_spec(hashed), {.seed = seed, .hash = {.seed = seed}});
        const Dataset data = and_points(points, seed, Split::train);
        train(model, data,
              {.epochs = epochs,
               .batch = train_batch,
               .optimizer = parse_optimizer("adam"),
               .lr = and_lr,
               .schedule = Schedule("cosine"),
               .seed = seed});
        return model;
      }});
  return label;
}

/// Its accuracy, and what surface_of() finds, on the CPU in float32: nothing larger is needed.
const Json* and_surface(Laboratory& lab, bool hashed, uint64_t seed) {
  const std::string label = declare_and(lab, hashed, seed);
  study::Study& cells = lab.cells;
  return cells.ask({.label = label,
                    .settings = {{"measure", "decision surface"},
                                 {"network", cells.settings_of(label)},
                                 {"side", and_side},
                                 {"n", and_tested},
                                 {"success", "prediction is the label"},
                                 {"seed", seed}},
                    .flops = 3 * study::flops_per_image(and_spec(hashed)) *
                             static_cast<double>(and_tested + and_side * and_side),
                    .networks = {label},
                    .measure = [&cells, label, seed] {
                      const Model& model = cells.network(label);
                      const Score score = evaluate(model, and_points(and_tested, seed, Split::test), 1000);
                      Json values = surface_of(model);
                      values["accuracy"] = study::json_of(Rate{score.correct, score.samples});
                      return values;
                    }});
}

/// A mean over seeds with its 95 % interval, which takes them for draws of a normal law (Student's t).
struct Mean {
  double value, low, high;

  explicit Mean(const std::vector<double>& draws) : value(0), low(0), high(0) {
    const double n = static_cast<double>(draws.size());
    double squares = 0;
    for (const double draw : draws) value += draw / n;
    for (const double draw : draws) squares += (draw - value) * (draw - value);
    const double half = student * std::sqrt(squares / (n - 1) / n);
    low = value - half;
    high = value + half;
  }
  std::string text() const { return fmt::format("{:.3g} [{:.3g}, {:.3g}]", value, low, high); }
};

/// Of the networks of one kind, seed by seed.
struct Kind {
  std::vector<double> accuracy, slope, height;
  const Json* first = nullptr;  // of the first seed

  bool whole() const { return slope.size() == and_seeds; }
};

Kind measured_kind(Laboratory& lab, bool hashed) {
  Kind kind;
  for (uint64_t i = 0; i < and_seeds; ++i) {
    const Json* values = and_surface(lab, hashed, lab.flags.common.seed + i);
    if (i == 0) kind.first = values;
    if (values == nullptr) continue;
    kind.accuracy.push_back(100 * study::rate_from(values->at("accuracy")).value());
    kind.slope.push_back(values->at("slope").get<double>());
    kind.height.push_back(values->at("height").get<double>());
  }
  return kind;
}

double largest(const Json& surface) {
  double most = 0;
  for (const Json& z : surface) most = std::max(most, std::abs(z.get<double>()));
  return most;
}

report::Plot surface_plot(const std::string& name, const char* title, const Json& surface, double most) {
  report::Plot plot{name, title, "x1", "x2", {}, {}, {{}, most}};
  for (size_t row = 0; row < static_cast<size_t>(and_side); ++row) {
    plot.heat.rows.emplace_back();
    for (size_t column = 0; column < static_cast<size_t>(and_side); ++column)
      plot.heat.rows.back().push_back(surface[row * static_cast<size_t>(and_side) + column].get<double>());
  }
  return plot;
}

/// Both under the same colours.
std::vector<report::Plot> surface_plots(const Kind& original, const Kind& hashed) {
  if (original.first == nullptr || hashed.first == nullptr) return {};
  const Json &plain = original.first->at("surface"), &other = hashed.first->at("surface");
  const double most = std::max(largest(plain), largest(other));
  return {surface_plot("f1_original", "Z1 - Z2, original network (B-F1)", plain, most),
          surface_plot("f1_hashed", "Z1 - Z2, HashNet (B-F1)", other, most)};
}

/// What hashing adds, seed by seed.
Mean added(const std::vector<double>& original, const std::vector<double>& hashed) {
  std::vector<double> differences;
  for (size_t i = 0; i < original.size(); ++i) differences.push_back(hashed[i] - original[i]);
  return Mean(differences);
}

/// Slope in units of the surface's own height.
std::vector<double> steepness(const Kind& kind) {
  std::vector<double> result;
  for (size_t i = 0; i < kind.slope.size(); ++i) result.push_back(kind.slope[i] / kind.height[i]);
  return result;
}

std::vector<std::string> surface_findings(const Kind& original, const Kind& hashed) {
  if (!original.whole() || !hashed.whole()) return {"B-F1: not measured."};
  const Mean slope = added(original.slope, hashed.slope),
             accuracy = added(original.accuracy, hashed.accuracy);
  const Mean relative = added(steepness(original), steepness(hashed));
  return {
      fmt::format("B-F1, the hashed surface is flatter: its mean gradient is {} against {} of the original "
                  "one, a difference of {}: {}.",
                  Mean(hashed.slope).text(), Mean(original.slope).text(), slope.text(),
                  study::verdict(slope.high < 0)),
      fmt::format("B-F1: of two surfaces of one shape the lower is the flatter one. In units of the mean "
                  "height the gradients are {} (hashed) and {}, a difference of {}: {}.",
                  Mean(steepness(hashed)).text(), Mean(steepness(original)).text(), relative.text(),
                  relative.high < 0 ? "flatter as well" : "not flatter"),
      fmt::format("B-F1: hashing changes the accuracy by {} points (paper: -2.46).", accuracy.text())};
}

std::vector<std::string> surface_row(const char* name, const char* paper, const Kind& kind) {
  if (!kind.whole()) return {name, study::not_run, paper, study::not_run, study::not_run, study::not_run};
  return {name,
          Mean(kind.accuracy).text(),
          paper,
          Mean(kind.slope).text(),
          Mean(kind.height).text(),
          Mean(steepness(kind)).text()};
}

}  // namespace

Part decision_surface(Laboratory& lab) {
  const Kind original = measured_kind(lab, false), hashed = measured_kind(lab, true);
  report::Table table{
      "f1_surface",
      "Decision surface Z1 - Z2 of the logical AND (B-F1)",
      {"network", "accuracy, %", "paper", "mean gradient", "mean height", "gradient / height"},
      {},
      fmt::format(
          "Means over {} networks, seeds {} to {}; brackets: 95 % interval of Student's t over the networks. "
          "{}, hashed: all layers at {}; {} random points, {} epochs, Adam at {}; accuracy on {} other "
          "points; gradient: length of d (Z1 - Z2) / d x, height: |Z1 - Z2|, means over a grid of {}x{} "
          "points. The drawings are of the first seed.",
          and_seeds, lab.flags.common.seed, lab.flags.common.seed + and_seeds - 1, and_network, and_rate,
          lab.protocol.surface_points, lab.protocol.surface_epochs, and_lr, and_tested, and_side, and_side)};
  table.add(surface_row("original", "98.88", original));
  table.add(surface_row("HashNet", "96.42", hashed));
  return {{table}, surface_plots(original, hashed), surface_findings(original, hashed)};
}

}  // namespace hashgrad::liu2021
