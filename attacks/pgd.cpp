#include "attacks/pgd.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "attacks/rows.h"

namespace hashgrad {
namespace {

/// The rows still without success, climbing together; a finished row leaves.
class Climb {
 public:
  Climb(const Oracle& oracle, const Pgd::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        early_stop_(options.early_stop && oracle.decides()),
        ball_{options.norm, options.eps},
        input_(input),
        out_(input.x),
        best_(out_.status.size(), -std::numeric_limits<double>::infinity()) {}

  Crafted run() {
    std::vector<int64_t> open = participants();
    for (int64_t restart = 0; restart < options_.restarts && !open.empty(); ++restart) {
      rows_ = std::exchange(open, {});
      live_ = gather(input_, rows_);
      x_ = options_.random_start ? start_by(options_.rules, live_.x, ball_, options_.seed, live_.samples,
                                            static_cast<uint32_t>(restart))
                                 : live_.x;
      for (int64_t taken = 0; taken <= options_.iters && !rows_.empty(); ++taken)
        iterate(restart * steps_of_restart() + taken, taken == options_.iters, open);
    }
    return std::move(out_);
  }

 private:
  /// A random start is a step: it is not the image.
  int64_t steps_of_restart() const { return options_.iters + options_.random_start; }

  /// Rows to work on: those that are not wrong already, or all.
  std::vector<int64_t> participants() {
    const CleanPass clean = judge_clean(oracle_, input_, out_);
    return early_stop_ ? clean.open : LiveRows(input_).rows();
  }

  /// Judges the iterates after `taken` steps and, unless these are the last, moves those that go on.
  void iterate(int64_t taken, bool last, std::vector<int64_t>& failed) {
    const Goal goal = live_.goal();
    if (last) x_ = returnable();
    LossGradient pass = last ? oracle_.height(x_, goal, options_.loss)  // goes nowhere from here
                             : oracle_.ascent(x_, goal, options_.loss);
    if (early_stop_) oracle_.confirm(x_, goal, options_.loss, pass);
    const Readings now = readings_of(pass);  // all that the host waits for in a step
    std::vector<int64_t> going_on, kept;
    for (size_t i = 0; i < rows_.size(); ++i) {
      const int64_t row = static_cast<int64_t>(i);
      const bool success = goal.reached(row, now.predictions[i]);
      const Status obstacle = last ? Status::max_iter : obstacle_of(now, i);
      const bool stop = last || obstacle != Status::ok || (success && early_stop_);
      book(i, taken, last, success);
      if (improves(i, success, now.values[i], stop)) kept.push_back(row);
      if (stop) set_status(static_cast<size_t>(rows_[i]), success ? Status::ok : obstacle);
      if (stop && !success) failed.push_back(rows_[i]);
      if (!stop) going_on.push_back(row);
    }
    scatter(out_.x_adv, numbers_of(kept), returnable(), kept);
    if (!last) advance(going_on, pass.gradient);
  }

  /// The iterates, back in the box where a library's rules have left it.
  Tensor returnable() const {
    return options_.rules.leaves_the_box() ? project(clip(x_), live_.x, ball_) : x_;
  }

  /// ok, or why a row's gradient leads nowhere.
  static Status obstacle_of(const Readings& now, size_t i) {
    return !now.finite[i] ? Status::nan : now.zero[i] ? Status::zero_grad : Status::ok;
  }

  /// Counts the passes.
  void book(size_t i, int64_t taken, bool last, bool success) {
    const size_t row = static_cast<size_t>(rows_[i]);
    ++out_.forwards[row];
    out_.backwards[row] += !last;
    if (success && out_.first_success[row] < 0) out_.first_success[row] = taken + options_.random_start;
  }

  /// Whether the iterate is the one to return, as far as is known: the first success, else the largest loss;
  /// without early stop the last.
  bool improves(size_t i, bool success, double value, bool stop) {
    double& best = best_[static_cast<size_t>(rows_[i])];
    if (early_stop_ ? !(success || value > best) : !stop) return false;
    best = value;
    return true;
  }

  /// Numbers in input_ of these live rows.
  std::vector<int64_t> numbers_of(const std::vector<int64_t>& live) const {
    std::vector<int64_t> numbers;
    for (const int64_t i : live) numbers.push_back(rows_[static_cast<size_t>(i)]);
    return numbers;
  }

  void set_status(size_t row, Status status) {
    if (out_.status[row] != Status::already_wrong) out_.status[row] = status;
  }

  void advance(const std::vector<int64_t>& going_on, Tensor gradient) {
    if (going_on.size() < rows_.size()) {
      rows_ = numbers_of(going_on);
      live_ = gather(live_, going_on);
      x_ = gather(x_, going_on);
      gradient = gather(gradient, going_on);
    }
    x_ = next(gradient);
  }

  Tensor next(const Tensor& gradient) const {
    const LibraryRules& rules = options_.rules;
    if (rules != LibraryRules{})
      return into_ball(step(x_, options_.step, along(gradient, ball_.norm, rules)), live_.x, ball_,
                       rules.ball);
    return ball_.norm == Norm::l1 ? spread_step(gradient)
                                  : ascend(x_, options_.step, gradient, live_.x, ball_);
  }

  /// The step for l1 (see Pgd::Options::sparsity).
  Tensor spread_step(const Tensor& gradient) const {
    const double pixels = static_cast<double>(row_size(x_)),
                 kept = std::max({1.0, std::round(options_.sparsity * pixels), std::ceil(options_.step)});
    const std::vector<int64_t> each(rows_.size(), static_cast<int64_t>(std::min(kept, pixels)));
    return project(step(x_, options_.step, sparse_signs(inward(gradient, x_), each)), live_.x, ball_);
  }

  const Oracle& oracle_;
  const Pgd::Options& options_;
  const bool early_stop_;
  const Threat ball_;
  const AttackInput& input_;
  Crafted out_;
  std::vector<double> best_;   // largest loss of each row so far
  std::vector<int64_t> rows_;  // numbers in input_ of the rows that go on
  AttackInput live_;           // these rows
  Tensor x_;                   // their iterates, [rows,C,H,W]
};

// What bim and pgd are elsewhere. CleverHans 2.0 is the tag of August 2017, which has no pgd; pgd of 2.1 is
// MadryEtAl; that of ART starts at random only where restarts are asked for.
constexpr LibraryRules on_the_sphere{.step = StepRule::dense, .ball = BallRule::sphere},
    madry{.step = StepRule::sign, .ball = BallRule::box_first, .cube_start = true},
    foolbox_l2{.floor = 1e-12}, foolbox_l1{.step = StepRule::dense, .ball = BallRule::radial, .floor = 1e-12},
    box_first{.ball = BallRule::box_first}, box_first_floored{.ball = BallRule::box_first, .floor = 1e-6};

constexpr LibraryProfile bim_profiles[] = {
    {"ch20", Norm::linf, 0.3, 0.05, 0, 10},
    {"ch20", Norm::l2, 0.3, 0.05, 0, 10, on_the_sphere},
    {"ch20", Norm::l1, 0.3, 0.05, 0, 10, on_the_sphere},
    {"ch21", Norm::linf, 0.3, 0.05, 0, 10},
    {"ch21", Norm::l2, 0.3, 0.05, 0, 10, box_first},
    {"ch21", Norm::l1, 0.3, 0.05, 0, 10, {.step = StepRule::dense, .ball = BallRule::box_first}},
    {"ch31", Norm::linf, 0.3, 0.05, 0, 10},
    {"ch31", Norm::l2, 0.3, 0.05, 0, 10, box_first_floored},
    {"foolbox3", Norm::linf, 0.3, 0, 0.2, 10},
    {"foolbox3", Norm::l2, 0.3, 0, 0.2, 10, foolbox_l2},
    {"foolbox3", Norm::l1, 0.3, 0, 0.2, 10, foolbox_l1},
    {"art", Norm::linf, 0.3, 0.1, 0, 100},
    {"ta35", Norm::linf, 8.0 / 255, 2.0 / 255, 0, 10},
    {"advertorch", Norm::linf, 0.1, 0.05, 0, 10},
    {"advertorch", Norm::l2, 0.1, 0.05, 0, 10, box_first_floored},
};

constexpr LibraryProfile pgd_profiles[] = {
    {"ch21", Norm::linf, 0.3, 0.01, 0, 40, madry},
    {"ch21", Norm::l2, 0.3, 0.01, 0, 40, madry},
    {"ch21", Norm::l1, 0.3, 0.01, 0, 40, madry},
    {"ch31", Norm::linf, 0.3, 0.05, 0, 10},
    {"ch31", Norm::l2, 0.3, 0.05, 0, 10, box_first_floored},
    {"foolbox3", Norm::linf, 0.3, 0, 0.01 / 0.3, 40},
    {"foolbox3", Norm::l2, 0.3, 0, 0.025, 50, foolbox_l2},
    {"foolbox3", Norm::l1, 0.3, 0, 0.025, 50, foolbox_l1},
    {"art", Norm::linf, 0.3, 0.1, 0, 100},
    {"art", Norm::l2, 0.3, 0.1, 0, 100, box_first},
    {"art", Norm::l1, 0.3, 0.1, 0, 100, box_first},
    {"ta35", Norm::linf, 8.0 / 255, 2.0 / 255, 0, 10},
    {"ta35", Norm::l2, 1, 0.2, 0, 10},
    {"advertorch", Norm::linf, 0.3, 0.01, 0, 40},
    {"advertorch", Norm::l2, 0.3, 0.01, 0, 40, box_first_floored},
};

/// What bim and pgd have in common.
AttackInfo loop_info(const char* name, const char* about, int64_t iters,
                     std::span<const LibraryProfile> profiles) {
  return {name,
          about,
          {compat_setting(profiles), eps_setting(0.3), norm_setting("linf", {"linf", "l2", "l1", "l0"}),
           AttackSetting::number("step", 0, 0, 1e30, "step in pixels; 0: 2.5 eps / iters, l0: 0.15"),
           iters_setting(iters),
           AttackSetting::number("sparsity", 0.01, 0, 1, "l1: share of the pixels that a step moves"),
           loss_setting(), AttackSetting::flag("no-early-stop", "all steps, and the last iterate")},
          {},
          {}};
}

Pgd::Options loop_options(const AttackSettings& s, const char* name,
                          std::span<const LibraryProfile> profiles) {
  Pgd::Options options{.norm = parse_norm(s.word("norm")),
                       .eps = s.number("eps"),
                       .step = s.number("step"),
                       .iters = s.integer("iters"),
                       .sparsity = s.number("sparsity"),
                       .early_stop = !s.flag("no-early-stop"),
                       .loss = s.word("loss"),
                       .seed = s.seed()};
  if (s.word("compat") == "none") return options;
  const LibraryProfile own = profile_of(profiles, s.word("compat"), options.norm, name);
  options.eps = s.number("eps", own.eps);
  options.step = s.number("step", own.step_of(options.eps));
  options.iters = s.integer("iters", own.iters);
  options.early_stop = false;
  options.rules = own.rules;
  return options;
}

}  // namespace

Pgd::Pgd(Options options) : options_(std::move(options)) {
  validate({options_.norm, options_.eps}, "pgd", {Norm::linf, Norm::l2, Norm::l1, Norm::l0});
  validate_count(options_.iters, "iters", "pgd");
  validate_count(options_.restarts, "restarts", "pgd");
  check(options_.restarts == 1 || options_.random_start,
        "pgd: {} restarts without random start are all the same", options_.restarts);
  check(options_.step >= 0 && options_.step <= 1e30, "pgd: step = {}, a number in [0, 1e30] expected",
        options_.step);
  check(options_.sparsity >= 0 && options_.sparsity <= 1, "pgd: sparsity = {}, a number in [0, 1] expected",
        options_.sparsity);
  if (options_.step == 0)
    options_.step =
        options_.norm == Norm::l0 ? 0.15 : 2.5 * options_.eps / static_cast<double>(options_.iters);
}

std::string Pgd::repr() const {
  return fmt::format(
      "Pgd({{.norm = Norm::{}, .eps = {}, .step = {}, .iters = {}, .restarts = {}, .sparsity = {}, "
      ".random_start = {}, .early_stop = {}, .loss = \"{}\", .seed = {}{}}})",
      name_of(options_.norm), options_.eps, options_.step, options_.iters, options_.restarts,
      options_.sparsity, options_.random_start, options_.early_stop, options_.loss.name(), options_.seed,
      repr_of(options_.rules));
}

Crafted Pgd::craft(const Oracle& oracle, const AttackInput& input) const {
  return Climb(oracle, options_, input).run();
}

AttackInfo Pgd::bim_info() {
  AttackInfo bim = loop_info(
      "bim", "steps of sign(gradient) from the image, projected (Kurakin et al., 2017)", 10, bim_profiles);
  bim.make = [](const AttackSettings& s) -> std::unique_ptr<Attack> {
    Options options = loop_options(s, "bim", bim_profiles);
    options.random_start = false;
    return std::make_unique<Pgd>(options);
  };
  bim.samples = {"eps=0.1,iters=3",
                 "norm=l2,eps=0.5,iters=3,no-early-stop",
                 "norm=l0,eps=8,iters=4",
                 "compat=ch20,norm=l2,eps=0.5,step=0.2,iters=4",
                 "compat=ch21,norm=l1,eps=3,step=1,iters=4",
                 "compat=foolbox3,norm=l1,eps=3,iters=4"};
  return bim;
}

AttackInfo Pgd::info() {
  AttackInfo pgd =
      loop_info("pgd", "the same from random points of the ball (Madry et al., ICLR 2018)", 40, pgd_profiles);
  pgd.settings.push_back(
      AttackSetting::integer("restarts", 1, 1, 1'000'000, "random starts for rows that failed"));
  pgd.settings.push_back(AttackSetting::flag("no-random-start", "start at the image"));
  pgd.make = [](const AttackSettings& s) -> std::unique_ptr<Attack> {
    Options options = loop_options(s, "pgd", pgd_profiles);
    const int64_t starts = s.integer("restarts", s.word("compat") == "art" ? 0 : 1);
    options.restarts = std::max<int64_t>(starts, 1);
    options.random_start = starts > 0 && !s.flag("no-random-start");
    return std::make_unique<Pgd>(options);
  };
  pgd.samples = {"eps=0.07,iters=5,restarts=3",
                 "eps=1,iters=3",
                 "norm=l2,eps=0.4,iters=5,loss=ce-exact",
                 "norm=l1,eps=3,iters=5,restarts=2,sparsity=0.1",
                 "norm=l0,eps=3,iters=5",
                 "compat=ch21,norm=l2,eps=0.5,step=0.1,iters=5",
                 "compat=art,norm=l1,eps=3,step=1,iters=5"};
  return pgd;
}

}  // namespace hashgrad
