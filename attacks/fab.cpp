#include "attacks/fab.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attacks/boundaries.h"
#include "attacks/rows.h"
#include "attacks/target.h"
#include "core/parallel.h"

namespace hashgrad {
namespace {

constexpr double nowhere = std::numeric_limits<double>::infinity();

double length(Norm norm, const std::vector<double>& d) {
  double sum = 0, squares = 0, largest = 0;
  for (const double v : d) sum += std::abs(v), squares += v * v, largest = std::max(largest, std::abs(v));
  return norm == Norm::linf ? largest : norm == Norm::l2 ? std::sqrt(squares) : sum;
}

/// Moves the iterate x [n] of the image x0 past the plane.
template <class T>
void advance(const Fab::Options& o, const Plane<T>& plane, const T* x0, int64_t n, T* x) {
  double gap0 = plane.gap;  // of the image
  for (int64_t i = 0; i < n; ++i)
    gap0 += static_cast<double>(plane.normal[i]) * (static_cast<double>(x0[i]) - static_cast<double>(x[i]));
  std::vector<double> d(static_cast<size_t>(n)), d0(static_cast<size_t>(n));
  to_plane(o.norm, x, plane.normal, plane.gap, n, d.data());
  to_plane(o.norm, x0, plane.normal, gap0, n, d0.data());
  const double far = std::max(length(o.norm, d), 1e-8), far0 = std::max(length(o.norm, d0), 1e-8);
  const double a = std::min(far / (far + far0), o.alpha_max);
  for (int64_t i = 0; i < n; ++i) {
    const size_t at = static_cast<size_t>(i);
    const double own = static_cast<double>(x[i]) + o.eta * d[at],
                 pull = static_cast<double>(x0[i]) + o.eta * d0[at];
    x[i] = static_cast<T>(std::clamp(own == pull ? own : (1 - a) * own + a * pull, 0.0, 1.0));
  }
}

/// x_0 + share[row] * (x - x_0), rounded once per element.
Tensor between(const Tensor& origin, const Tensor& x, const std::vector<double>& share) {
  Tensor result = Tensor::empty(x.shape(), x.dtype());
  const int64_t n = row_size(x);
  for_float_type(x.dtype(), "fab", [&]<class T>() {
    for (int64_t i = 0; i < x.numel(); ++i) {
      const double from = static_cast<double>(origin.data<T>()[i]), to = static_cast<double>(x.data<T>()[i]);
      const double s = share[static_cast<size_t>(i / n)];
      result.data<T>()[i] = static_cast<T>(from == to ? to : s * to + (1 - s) * from);  // to itself for s = 1
    }
  });
  return result;
}

class Search {
 public:
  Search(const Oracle& oracle, const Fab::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        input_(input),
        out_(input.x),
        nearest_(out_.status.size(), nowhere),
        steps_(out_.status.size(), 0) {}

  Crafted run() {
    const CleanPass clean = judge_clean(oracle_, input_, out_);
    const bool targeted = input_.goal().targeted();
    const int64_t targets = targeted ? 0 : std::min(options_.targets, oracle_.model().classes() - 1);
    std::vector<int64_t> open = clean.open;
    for (int64_t run = 0; run < std::max<int64_t>(targets, 1) * options_.restarts && !open.empty(); ++run) {
      aims_ = targets == 0 ? input_.targets : rivals(clean.logits, input_.y, run / options_.restarts);
      const bool first = run % options_.restarts == 0;
      Walk walk{LiveRows(input_, open), {}};
      walk.x = first ? walk.live.input().x.clone() : around(walk.live, static_cast<uint32_t>(run));
      for (int64_t i = 0; i < options_.iters && !walk.live.empty(); ++i) iterate(walk);
      std::erase_if(open, [&](int64_t row) { return done(static_cast<size_t>(row)); });
    }
    draw_in(open, clean.logits);
    close();
    return std::move(out_);
  }

 private:
  struct Walk {
    LiveRows live;
    Tensor x;  // iterates, [rows,C,H,W]
  };

  /// Found within the ball, if there is one; without one nothing is nearer than the image itself.
  bool done(size_t row) const { return nearest_[row] <= options_.eps; }

  /// Random points at most half as far from the image as what was found, or as the ball reaches.
  Tensor around(const LiveRows& live, uint32_t run) const {
    const double typical = options_.norm == Norm::linf ? 0.3
                           : options_.norm == Norm::l2 ? 1
                                                       : 5;  // when nothing else is known
    const double most = options_.eps > 0 ? options_.eps : nowhere;
    Tensor x = live.input().x.clone();
    for (size_t i = 0; i < live.size(); ++i) {
      const double bound = std::min(nearest_[live.row(i)], most);
      const Threat ball{options_.norm, (bound < nowhere ? bound : typical) / 2};
      const int64_t at = static_cast<int64_t>(i);
      scatter(
          x, {at},
          random_start(gather(live.input().x, {at}), ball, options_.seed, {live.input().samples[i]}, run));
    }
    return x;
  }

  /// The boundaries that row i of the live rows walks to.
  std::vector<ClassPair> pairs(const LiveRows& live, int64_t i, const std::vector<double>& logits) const {
    const Goal goal = live.goal();
    if (goal.targeted()) {
      const int64_t target = goal.targets.data<int64_t>()[i];
      return {{target, by_logit(logits, target)[0]}};
    }
    const int64_t label = goal.labels.data<int64_t>()[i];
    if (aims_.defined()) return {{aims_.data<int64_t>()[live.row(static_cast<size_t>(i))], label}};
    std::vector<ClassPair> all;
    for (int64_t k = 0; k < static_cast<int64_t>(logits.size()); ++k)
      if (k != label) all.push_back({k, label});
    return all;
  }

  /// One step of every live row, judged; rows that are done or have nowhere to go leave.
  void iterate(Walk& walk) {
    const int64_t count = aims_.defined() ? 1 : oracle_.model().classes() - 1;
    const Boundaries near =
        boundaries(oracle_, walk.x, count,
                   [&](int64_t i, const std::vector<double>& logits) { return pairs(walk.live, i, logits); });
    std::vector<uint8_t> moved(walk.live.size(), 0);
    parallel_for(static_cast<int64_t>(walk.live.size()), [&](int64_t i) {
      moved[static_cast<size_t>(i)] = for_float_type(walk.x.dtype(), "fab", [&]<class T>() {
        const int64_t n = row_size(walk.x);
        const auto plane = nearest<T>(near, i, options_.norm);
        if (plane)
          advance(options_, *plane, walk.live.input().x.data<T>() + i * n, n, walk.x.data<T>() + i * n);
        return plane.has_value();
      });
    });
    std::vector<int64_t> moving;
    for (size_t i = 0; i < walk.live.size(); ++i) {
      const size_t row = walk.live.row(i);
      ++out_.forwards[row];
      out_.backwards[row] += count;
      steps_[row] += moved[i];
      out_.status[row] = moved[i] ? Status::max_iter : near.why_none(static_cast<int64_t>(i));
      if (moved[i]) moving.push_back(static_cast<int64_t>(i));
    }
    walk.live.keep(moving, walk.x);
    judge(walk);
  }

  void judge(Walk& walk) {
    const std::vector<bool> success = keep_nearest(walk.live, walk.x);
    std::vector<double> share(walk.live.size(), 1);
    std::vector<int64_t> going_on;
    for (size_t i = 0; i < walk.live.size(); ++i) {
      if (success[i]) share[i] = options_.beta;
      if (!done(walk.live.row(i))) going_on.push_back(static_cast<int64_t>(i));
    }
    walk.x = between(walk.live.input().x, walk.x, share);
    walk.live.keep(going_on, walk.x);
  }

  /// Which of x reach the goal, by a forward pass; those nearer than what was found before replace it.
  std::vector<bool> keep_nearest(const LiveRows& live, const Tensor& x,
                                 std::vector<double>* margins = nullptr) {
    const Tensor logits = oracle_.exact_logits(x);
    if (margins)
      *margins = Oracle::objective(logits, live.goal(), "margin").to(DType::float64).to_vector<double>();
    const std::vector<int64_t> predictions = predictions_of(logits);
    const Distances far = distances(live.input().x, x);
    const std::vector<double> length = in_norm(far, options_.norm).to_vector<double>();
    std::vector<bool> success(live.size());
    for (size_t i = 0; i < live.size(); ++i) {
      const size_t row = live.row(i);
      ++out_.forwards[row];
      success[i] = live.goal().reached(static_cast<int64_t>(i), predictions[i]);
      if (!success[i] || length[i] >= nearest_[row]) continue;
      nearest_[row] = length[i];
      if (out_.first_success[row] < 0) out_.first_success[row] = steps_[row];
      scatter(out_.x_adv, {live.rows()[i]}, gather(x, {static_cast<int64_t>(i)}));
    }
    return success;
  }

  /// Three secant steps between the image and what was found for the rows of `open`, leaning to the latter.
  void draw_in(std::vector<int64_t> open, const Tensor& clean_logits) {
    std::erase_if(open, [&](int64_t row) { return nearest_[static_cast<size_t>(row)] == nowhere; });
    const LiveRows live(input_, open);
    if (live.empty()) return;
    const Tensor found = gather(out_.x_adv, open);
    std::vector<double> low(live.size(), 0), high(live.size(), 1), below, above, now;
    below = Oracle::objective(gather(clean_logits, open), live.goal(), "margin")
                .to(DType::float64)
                .to_vector<double>();
    keep_nearest(live, found, &above);
    for (int step = 0; step < 3; ++step) {
      std::vector<double> share(live.size());
      for (size_t i = 0; i < live.size(); ++i) {
        const double rise = above[i] - below[i], root = rise > 0 ? -below[i] / rise : 0.5;
        share[i] = low[i] + (high[i] - low[i]) * (0.9 * std::clamp(root, 0.0, 1.0) + 0.1);
      }
      const std::vector<bool> success = keep_nearest(live, between(live.input().x, found, share), &now);
      for (size_t i = 0; i < live.size(); ++i)
        success[i] ? (high[i] = share[i], above[i] = now[i]) : (low[i] = share[i], below[i] = now[i]);
    }
  }

  /// What was found outside the ball is no success; there, and where nothing was found, the image stays.
  void close() {
    for (size_t row = 0; row < nearest_.size(); ++row) {
      if (out_.status[row] == Status::already_wrong) continue;
      if (nearest_[row] < nowhere && (options_.eps == 0 || done(row))) {
        out_.status[row] = Status::ok;
        continue;
      }
      const int64_t at = static_cast<int64_t>(row);
      out_.first_success[row] = -1;
      scatter(out_.x_adv, {at}, gather(input_.x, {at}));
    }
  }

  const Oracle& oracle_;
  const Fab::Options& options_;
  const AttackInput& input_;
  Crafted out_;
  Tensor aims_;                  // [N] int64: the class whose boundary each row walks to; undefined: of all
  std::vector<double> nearest_;  // distance of what was found for each row
  std::vector<int64_t> steps_;   // taken by each row
};

AttackInfo info_of(const char* name, const char* about, int64_t targets) {
  AttackInfo info{
      name,
      about,
      {AttackSetting::number("eps", 0, 0, 1e30, "stop inside this ball, in pixels; 0: smallest distance"),
       norm_setting("linf", {"linf", "l2", "l1"}), iters_setting(100),
       AttackSetting::integer("restarts", 1, 1, 1'000'000, "starts; all but the first around the image"),
       AttackSetting::number("alpha-max", 0.1, 0, 1, "largest pull towards the image"),
       AttackSetting::number("eta", 1.05, 1, 1e30, "step past the boundary"),
       AttackSetting::number("beta", 0.9, 0, 1, "share of the way that is kept after a success")},
      {},
      {}};
  if (targets > 0)
    info.settings.push_back(
        AttackSetting::integer("targets", targets, 1, 1'000'000, "likeliest classes tried"));
  info.make = [targets](const AttackSettings& s) -> std::unique_ptr<Attack> {
    return std::make_unique<Fab>(Fab::Options{.norm = parse_norm(s.word("norm")),
                                              .eps = s.number("eps"),
                                              .iters = s.integer("iters"),
                                              .restarts = s.integer("restarts"),
                                              .targets = targets > 0 ? s.integer("targets") : 0,
                                              .alpha_max = s.number("alpha-max"),
                                              .eta = s.number("eta"),
                                              .beta = s.number("beta"),
                                              .seed = s.seed()});
  };
  info.samples = {"iters=5,restarts=2", "norm=l2,iters=5", "eps=0.1,iters=5", "norm=l1,iters=5,restarts=2",
                  "norm=l1,eps=3,iters=5"};
  return info;
}

}  // namespace

Fab::Fab(Options options) : options_(options) {
  const std::string who = name();
  validate(Threat{options_.norm, options_.eps}, who.c_str(), {Norm::linf, Norm::l2, Norm::l1});
  validate_count(options_.iters, "iters", who);
  validate_count(options_.restarts, "restarts", who);
  check(options_.targets >= 0 && options_.targets <= 1'000'000, "{}: targets = {}, 0 to 1000000 expected",
        who, options_.targets);
  check(options_.alpha_max >= 0 && options_.alpha_max <= 1, "{}: alpha_max = {}, a number in [0, 1] expected",
        who, options_.alpha_max);
  check(options_.eta >= 1 && options_.eta <= 1e30, "{}: eta = {}, a number in [1, 1e30] expected", who,
        options_.eta);
  check(options_.beta >= 0 && options_.beta <= 1, "{}: beta = {}, a number in [0, 1] expected", who,
        options_.beta);
}

std::string Fab::repr() const {
  return fmt::format(
      "Fab({{.norm = Norm::{}, .eps = {}, .iters = {}, .restarts = {}, .targets = {}, .alpha_max = {}, .eta "
      "= {}, .beta = {}, .seed = {}}})",
      name_of(options_.norm), options_.eps, options_.iters, options_.restarts, options_.targets,
      options_.alpha_max, options_.eta, options_.beta, options_.seed);
}

std::optional<Threat> Fab::threat() const {
  return options_.eps > 0 ? std::optional(Threat{options_.norm, options_.eps}) : std::nullopt;
}

Crafted Fab::craft(const Oracle& oracle, const AttackInput& input) const {
  return Search(oracle, options_, input).run();
}

AttackInfo Fab::info() {
  return info_of("fab", "smallest distance along the boundary (Croce and Hein, ICML 2020)", 0);
}

AttackInfo Fab::targets_info() {
  return info_of("fab-t", "fab, one likely class after the other: a cotangent per step, not one per class",
                 9);
}

}  // namespace hashgrad
