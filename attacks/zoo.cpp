#include "attacks/zoo.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attacks/constant_search.h"
#include "attacks/probes.h"
#include "attacks/rows.h"
#include "core/random.h"

namespace hashgrad {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Adam's memory of one coordinate.
struct Moments {
  double mean = 0, square = 0;
  int64_t steps = 0;

  /// The step that descends along `gradient`.
  double step(double gradient, double lr) {
    constexpr double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    ++steps;
    mean = beta1 * mean + (1 - beta1) * gradient;
    square = beta2 * square + (1 - beta2) * gradient * gradient;
    const double t = static_cast<double>(steps);
    const double rate = lr * std::sqrt(1 - std::pow(beta2, t)) / (1 - std::pow(beta1, t));
    return rate * mean / (std::sqrt(square) + eps);
  }
};

/// What is known of the loss along one coordinate.
struct Slope {
  double gradient, curvature;

  double step(Zoo::Rule rule, double lr, Moments& moments) const {
    const double newton = lr * gradient / std::max(curvature < 0 ? 1 : curvature, 0.1);
    if (rule == Zoo::Rule::newton) return newton;
    const double adam = moments.step(gradient, lr);
    return rule == Zoo::Rule::hybrid && curvature >= 0 ? newton : adam;
  }
};

/// How far a row is along.
struct Progress {
  BisectedConstant search;
  int64_t taken = 0;               // steps in all
  bool moved = false;              // ever
  double best = infinity;          // squared distance of the nearest success
  std::vector<Moments> moments{};  // of every coordinate
  std::vector<int64_t> chosen{};   // coordinates to be probed now
};

/// Weight of every coordinate: the largest change within its tile, an eighth of the image's edge, so that
/// neighbours of what has helped are tried too; and a hundredth of the largest anywhere.
template <class T>
std::vector<double> importance(const T* x, const T* clean, const Shape& image) {
  const int64_t channels = image[0], height = image[1], width = image[2];
  const int64_t tile = std::max<int64_t>(1, std::max(height, width) / 8), tiles = (width + tile - 1) / tile;
  std::vector<double> weights(static_cast<size_t>(image.numel()));
  double largest = 0;
  for (int64_t c = 0; c < channels; ++c) {
    std::vector<double> change(static_cast<size_t>(tiles * ((height + tile - 1) / tile)), 0);
    const auto pass = [&](const auto& visit) {
      for (int64_t h = 0; h < height; ++h)
        for (int64_t w = 0; w < width; ++w)
          visit((c * height + h) * width + w, change[static_cast<size_t>(h / tile * tiles + w / tile)]);
    };
    pass([&](int64_t i, double& of_tile) {
      of_tile = std::max(of_tile, std::abs(static_cast<double>(x[i]) - static_cast<double>(clean[i])));
    });
    pass([&](int64_t i, double& of_tile) { weights[static_cast<size_t>(i)] = of_tile; });
    largest = std::max(largest, *std::max_element(change.begin(), change.end()));
  }
  for (double& w : weights) w = largest == 0 ? 1 : w + largest / 100;
  return weights;
}

/// `count` different coordinates, each with a chance that grows with its weight: the first to ring of clocks
/// whose waiting times are exponential (Efraimidis and Spirakis, 2006).
std::vector<int64_t> draw_coordinates(Random random, const std::vector<double>& weights, int64_t count) {
  std::vector<std::pair<double, int64_t>> rings;
  for (const double weight : weights)
    rings.emplace_back(-std::log(1 - random.uniform_double()) / weight, rings.size());
  std::nth_element(rings.begin(), rings.begin() + (count - 1), rings.end());
  std::vector<int64_t> drawn;
  for (int64_t k = 0; k < count; ++k) drawn.push_back(rings[static_cast<size_t>(k)].second);
  return drawn;
}

/// How far the goal is away: the lead of the label over the best other score, or of the best other over the
/// target.
double distance_to_goal(const double* scores, int64_t classes, int64_t wanted, bool targeted) {
  double other = -infinity;
  for (int64_t k = 0; k < classes; ++k)
    if (k != wanted) other = std::max(other, scores[k]);
  return targeted ? other - scores[wanted] : scores[wanted] - other;
}

/// See Zoo::Options::h.
template <class T>
constexpr double usual_h(Zoo::Rule rule) {
  return rule == Zoo::Rule::adam || dtype_of<T> == DType::float64 ? 1e-4 : 1e-2;
}

/// The rows under way. Each runs its own program, with its own c and its own end; they only ask together.
template <class T>
class Search {
 public:
  Search(const Oracle& oracle, const Zoo::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        constants_{options.c0, options.c_steps, options.iters, true},
        image_(input.x.shape().without(0)),
        size_(image_.numel()),
        coordinates_(std::min(options.coordinates, size_)),
        h_(options.h > 0 ? options.h : usual_h<T>(options.rule)),
        out_(input.x),
        live_(input, judge_clean(oracle, input, out_).open),
        x_(live_.input().x.clone()) {
    Progress start{.search = {.c = options.c0}};
    start.moments.resize(static_cast<size_t>(size_));
    rows_.assign(live_.size(), start);
  }

  Crafted run() {
    while (!live_.empty()) {
      ask_all();
      std::vector<uint8_t> goes_on(live_.size());
      for_images(static_cast<int64_t>(live_.size()), size_,
                 [&](int64_t i) { goes_on[static_cast<size_t>(i)] = advance(i); });
      live_.keep_if(goes_on, x_, rows_);
    }
    return std::move(out_);
  }

 private:
  T* pixels(int64_t i) { return x_.data<T>() + i * size_; }
  const T* clean(int64_t i) const { return live_.input().x.template data<T>() + i * size_; }
  T above(T v) const { return std::min(static_cast<T>(static_cast<double>(v) + h_), T{1}); }
  T below(T v) const { return std::max(static_cast<T>(static_cast<double>(v) - h_), T{0}); }

  /// What row i is to be probed along in its next step; nothing when it only remains to judge the last one.
  void choose(int64_t i) {
    Progress& row = rows_[static_cast<size_t>(i)];
    row.chosen.clear();
    if (row.search.iter == options_.iters) return;
    const uint64_t sample = static_cast<uint64_t>(live_.input().samples[static_cast<size_t>(i)]);
    row.chosen =
        draw_coordinates(Random(options_.seed, Stream::attack, sample, static_cast<uint32_t>(row.taken)),
                         options_.importance ? importance(pixels(i), clean(i), image_)
                                             : std::vector(static_cast<size_t>(size_), 1.0),
                         coordinates_);
  }

  /// Asks for every row's image and its probes, in this order: x, then above and below along each coordinate.
  void ask_all() {
    const int64_t n = static_cast<int64_t>(live_.size()), k = oracle_.model().classes();
    for_images(n, size_, [&](int64_t i) { choose(i); });
    first_.assign(1, 0);
    std::vector<PixelQueries::Query> queries;
    for (int64_t i = 0; i < n; ++i) {
      queries.push_back({i, 0, static_cast<double>(pixels(i)[0])});
      for (const int64_t j : rows_[static_cast<size_t>(i)].chosen)
        for (const T v : {above(pixels(i)[j]), below(pixels(i)[j])})
          queries.push_back({i, j, static_cast<double>(v)});
      out_.forwards[live_.row(static_cast<size_t>(i))] += std::ssize(queries) - first_.back();
      first_.push_back(std::ssize(queries));
    }
    scores_.resize(static_cast<size_t>(first_.back() * k));
    predictions_.resize(static_cast<size_t>(n));
    ask_about_numbers<T>(oracle_, x_, queries, [&](int64_t first, const Tensor& logits) {
      const std::vector<int64_t> classes = predictions_of(logits);
      const Tensor shown = Oracle::shown(logits, options_.on);
      const T* s = shown.data<T>();
      for (int64_t j = 0; j < shown.numel(); ++j)
        scores_[static_cast<size_t>(first * k + j)] = options_.on == Outputs::probs
                                                          ? std::log(static_cast<double>(s[j]) + 1e-30)
                                                          : static_cast<double>(s[j]);
      for (size_t j = 0; j < classes.size(); ++j) {
        const int64_t p = first + static_cast<int64_t>(j), i = queries[static_cast<size_t>(p)].image;
        if (p == first_[static_cast<size_t>(i)]) predictions_[static_cast<size_t>(i)] = classes[j];
      }
    });
  }

  /// max(0, D + kappa) of question q of row i; NaN where a score is.
  double hinge(int64_t i, int64_t q) const {
    const AttackInput& input = live_.input();
    const bool targeted = input.targets.defined();
    const int64_t wanted = (targeted ? input.targets : input.y).template data<int64_t>()[i];
    const int64_t k = oracle_.model().classes();
    const double d = distance_to_goal(&scores_[static_cast<size_t>((first_[static_cast<size_t>(i)] + q) * k)],
                                      k, wanted, targeted);
    return std::isnan(d) ? d : std::max(0.0, d + options_.kappa);
  }

  /// Judges row i and takes its next step; false when it has ended.
  bool advance(int64_t i) {
    Progress& row = rows_[static_cast<size_t>(i)];
    const double f = hinge(i, 0), distance = squared_distance(i);
    if (!std::isfinite(f)) return end(i, Status::nan);
    if (f == 0 && live_.goal().reached(i, predictions_[static_cast<size_t>(i)])) book(i, distance);
    if (row.search.stalled(constants_, distance + row.search.c * f) || row.search.iter == options_.iters)
      return next_c(i);
    if (!step(i, f)) return end(i, Status::nan);
    ++row.search.iter, ++row.taken;
    return true;
  }

  double squared_distance(int64_t i) {
    double sum = 0;
    for (int64_t j = 0; j < size_; ++j) {
      const double d = static_cast<double>(pixels(i)[j]) - static_cast<double>(clean(i)[j]);
      sum += d * d;
    }
    return sum;
  }

  /// A success: kept if it is the nearest.
  void book(int64_t i, double distance) {
    Progress& row = rows_[static_cast<size_t>(i)];
    const size_t number = live_.row(static_cast<size_t>(i));
    row.search.found = true;
    if (out_.first_success[number] < 0) out_.first_success[number] = row.taken;
    if (!(distance < row.best)) return;
    row.best = distance;
    std::copy_n(pixels(i), size_, out_.x_adv.template data<T>() + static_cast<int64_t>(number) * size_);
  }

  /// Descends along the coordinates that were probed; false where an answer is not a number.
  bool step(int64_t i, double f) {
    Progress& row = rows_[static_cast<size_t>(i)];
    std::vector<std::pair<double, double>> answers;
    for (size_t n = 0; n < row.chosen.size(); ++n)
      answers.emplace_back(hinge(i, 1 + 2 * static_cast<int64_t>(n)),
                           hinge(i, 2 + 2 * static_cast<int64_t>(n)));
    if (!std::all_of(answers.begin(), answers.end(),
                     [](const auto& a) { return std::isfinite(a.first) && std::isfinite(a.second); }))
      return false;
    for (size_t n = 0; n < row.chosen.size(); ++n) {
      const int64_t j = row.chosen[n];
      T& v = pixels(i)[j];
      const Slope slope = slope_of(v, clean(i)[j], f, answers[n].first, answers[n].second, row.search.c);
      const double by = slope.step(options_.rule, options_.lr, row.moments[static_cast<size_t>(j)]);
      const T moved = std::clamp(static_cast<T>(static_cast<double>(v) - by), T{0}, T{1});
      row.moved |= moved != v;
      v = moved;
    }
    return true;
  }

  /// Of the loss at v: the distance's part exactly, the model's by differences over the way that the probes
  /// really went, cut by the box and rounded.
  Slope slope_of(T v, T clean, double f, double f_above, double f_below, double c) const {
    const double x = static_cast<double>(v);
    const double up = static_cast<double>(above(v)) - x, down = x - static_cast<double>(below(v));
    const double bend =
        up > 0 && down > 0 ? 2 * ((f_above - f) / up - (f - f_below) / down) / (up + down) : 0;
    return {2 * (x - static_cast<double>(clean)) + c * (f_above - f_below) / (up + down), 2 + c * bend};
  }

  /// From the clean image with the next c; false when there is none, or would be no point.
  bool next_c(int64_t i) {
    Progress& row = rows_[static_cast<size_t>(i)];
    if (!row.moved) return end(i, Status::zero_grad);
    if (!row.search.next_step(constants_)) return end(i, Status::max_iter);
    row.moments.assign(row.moments.size(), {});
    std::copy_n(clean(i), size_, pixels(i));
    return true;
  }

  bool end(int64_t i, Status without_success) {
    const bool success = rows_[static_cast<size_t>(i)].best < infinity;
    out_.status[live_.row(static_cast<size_t>(i))] = success ? Status::ok : without_success;
    return false;
  }

  const Oracle& oracle_;
  const Zoo::Options& options_;
  const ConstantOptions constants_;
  const Shape image_;
  const int64_t size_, coordinates_;
  const double h_;
  Crafted out_;
  LiveRows live_;
  Tensor x_;  // [rows,C,H,W], iterates
  std::vector<Progress> rows_;
  // Of the questions asked last: the first one of each row (and their number), and the answers.
  std::vector<int64_t> first_;
  std::vector<double> scores_;        // [questions, classes]
  std::vector<int64_t> predictions_;  // of each row's image
};

/// ART's defaults: scores as they come, which are logits here, and ten steps at a small c. Its bookkeeping is
/// not repeated (docs/attacks.md).
Zoo::Options art() { return {.on = Outputs::logits, .c0 = 1e-3, .iters = 10}; }

}  // namespace

Zoo::Zoo(Options options) : options_(options) {
  const auto in = [](double v, double least, double most) { return v >= least && v <= most; };
  check(in(options_.kappa, 0, 1e30), "zoo: kappa = {}, a number in [0, 1e30] expected", options_.kappa);
  check(in(options_.c0, 1e-30, 1e10), "zoo: c0 = {}, a number in [1e-30, 1e10] expected", options_.c0);
  validate_count(options_.c_steps, "c-steps", "zoo", 100);
  validate_count(options_.iters, "iters", "zoo");
  validate_count(options_.coordinates, "coordinates", "zoo");
  check(in(options_.lr, 1e-10, 1e10), "zoo: lr = {}, a number in [1e-10, 1e10] expected", options_.lr);
  check(options_.h == 0 || in(options_.h, 1e-6, 1), "zoo: h = {}, 0 or a number in [1e-6, 1] expected",
        options_.h);
}

std::string Zoo::repr() const {
  return fmt::format(
      "Zoo({{.rule = Zoo::Rule::{}, .on = Outputs::{}, .kappa = {}, .c0 = {}, .c_steps = {}, .iters = {}, "
      ".coordinates = {}, .lr = {}, .h = {}, .importance = {}, .seed = {}}})",
      name_of(options_.rule), name_of(options_.on), options_.kappa, options_.c0, options_.c_steps,
      options_.iters, options_.coordinates, options_.lr, options_.h, options_.importance, options_.seed);
}

Crafted Zoo::craft(const Oracle& oracle, const AttackInput& input) const {
  return for_float_type(input.x.dtype(), "zoo",
                        [&]<class T>() { return Search<T>(oracle, options_, input).run(); });
}

Zoo::Rule parse_zoo_rule(const std::string& text) {
  for (const Zoo::Rule rule : {Zoo::Rule::adam, Zoo::Rule::newton, Zoo::Rule::hybrid})
    if (text == name_of(rule)) return rule;
  fail("zoo: rule '{}' is none of adam, newton, hybrid", text);
}

const char* name_of(Zoo::Rule rule) {
  return rule == Zoo::Rule::adam ? "adam" : rule == Zoo::Rule::newton ? "newton" : "hybrid";
}

AttackInfo Zoo::info() {
  return {
      "zoo",
      "the objective of cw-l2 by finite differences (Chen et al., AISec 2017)",
      {AttackSetting::word("compat", "none", {"none", "art"}, "library whose defaults hold"),
       AttackSetting::word("rule", "adam", {"adam", "newton", "hybrid"}, "how a coordinate steps"),
       AttackSetting::word("on", "probs", {"probs", "logits"}, "scores that the model shows"),
       AttackSetting::number("kappa", 0, 0, 1e30, "lead that a success must have"),
       AttackSetting::number("c0", 0.5, 1e-30, 1e10, "first weight of the loss against the distance"),
       AttackSetting::integer("c-steps", 1, 1, 100, "values of c, bisected"), iters_setting(3000),
       AttackSetting::integer("coordinates", 128, 1, 1'000'000, "coordinates per step"),
       AttackSetting::number("lr", 0.01, 1e-10, 1e10, "size of a step"),
       AttackSetting::number("h", 0, 0, 1, "distance of a probe, pixels; 0: 1e-4, float32 curvatures 1e-2"),
       AttackSetting::flag("importance", "probe where the image has changed already")},
      [](const AttackSettings& s) -> std::unique_ptr<Attack> {
        const Options base = s.word("compat") == "art" ? art() : Options{};
        return std::make_unique<Zoo>(Options{.rule = parse_zoo_rule(s.word("rule")),
                                             .on = parse_outputs(s.word("on", hashgrad::name_of(base.on))),
                                             .kappa = s.number("kappa"),
                                             .c0 = s.number("c0", base.c0),
                                             .c_steps = s.integer("c-steps"),
                                             .iters = s.integer("iters", base.iters),
                                             .coordinates = s.integer("coordinates"),
                                             .lr = s.number("lr"),
                                             .h = s.number("h"),
                                             .importance = s.flag("importance"),
                                             .seed = s.seed()});
      },
      {"c0=10,iters=6,coordinates=12,lr=0.2", "rule=newton,on=logits,c0=10,iters=6,coordinates=12,lr=0.2",
       "rule=hybrid,c0=1,c-steps=2,iters=4,coordinates=12,lr=0.2,importance"}};
}

}  // namespace hashgrad
