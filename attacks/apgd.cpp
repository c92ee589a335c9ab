#include "attacks/apgd.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "attacks/rows.h"
#include "attacks/target.h"
#include "core/parallel.h"

namespace hashgrad {
namespace {

/// What a row knows of its own climb.
struct Progress {
  double step;             // pixels
  double best = 0;         // largest loss so far
  double last = 0;         // loss of the iterate before
  double best_before = 0;  // `best` at the last checkpoint
  int64_t rises = 0;       // steps since then that raised the loss
  bool halved = true;      // was the step halved there
  double changed = 0;      // l1: pixels that the best point changed there
  int64_t kept = 1;        // l1: pixels that a step moves
};

/// A part of a run: so many steps within one ball.
struct Stage {
  Threat ball;
  int64_t iters;
  std::vector<int64_t> checkpoints;
};

/// One stage; three in shrinking balls for l1.
std::vector<Stage> stages_of(const Apgd::Options& o) {
  if (o.norm != Norm::l1) return {{{o.norm, o.eps}, o.iters, apgd_checkpoints(o.iters)}};
  const int64_t wide = 3 * o.iters / 10;
  std::vector<Stage> stages;
  for (const auto& [factor, iters] :
       {std::pair{3, wide}, std::pair{2, wide}, std::pair{1, o.iters - 2 * wide}})
    if (iters > 0) stages.push_back({{o.norm, factor * o.eps}, iters, apgd_l1_checkpoints(iters)});
  return stages;
}

/// Rows climbing together; each state has one entry per row.
struct Run {
  LiveRows live;
  Tensor aims;       // [rows] int64: classes whose loss is followed; undefined: as the goal says
  Tensor x, before;  // x_k and x_{k-1}
  Tensor gradient;   // at x
  Tensor best_x, best_gradient;
  std::vector<Progress> progress;
};

/// x + step[row] * direction.
Tensor step_rows(const Tensor& x, const std::vector<Progress>& progress, const Tensor& direction) {
  Tensor result = Tensor::empty(x.shape(), x.dtype());
  const int64_t n = row_size(x);
  for_float_type(x.dtype(), "apgd", [&]<class T>() {
    const T *from = x.data<T>(), *along = direction.data<T>();
    T* out = result.data<T>();
    parallel_for(x.size(0), [&](int64_t row) {
      const T step = static_cast<T>(progress[static_cast<size_t>(row)].step);
      for (int64_t i = row * n; i < (row + 1) * n; ++i) out[i] = from[i] + step * along[i];
    });
  });
  return result;
}

/// x + keep * (z - x) + (1 - keep) * (x - before).
Tensor with_momentum(const Tensor& x, const Tensor& z, const Tensor& before, double keep) {
  Tensor result = Tensor::empty(x.shape(), x.dtype());
  for_float_type(x.dtype(), "apgd", [&]<class T>() {
    const T *now = x.data<T>(), *next = z.data<T>(), *past = before.data<T>(), k = static_cast<T>(keep);
    T* out = result.data<T>();
    for (int64_t i = 0; i < x.numel(); ++i)
      out[i] = now[i] + (next[i] - now[i]) * k + (now[i] - past[i]) * (1 - k);
  });
  return result;
}

bool row_equal(const Tensor& a, const Tensor& b, size_t row) {
  const int64_t n = row_size(a), at = static_cast<int64_t>(row) * n;
  return for_float_type(a.dtype(), "apgd", [&]<class T>() {
    return std::equal(a.data<T>() + at, a.data<T>() + at + n, b.data<T>() + at);
  });
}

class Search {
 public:
  Search(const Oracle& oracle, const Apgd::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        loss_(options.targets > 0 ? Loss("dlr") : options.loss),
        stages_(stages_of(options)),
        input_(input),
        out_(input.x),
        best_(out_.status.size(), -std::numeric_limits<double>::infinity()) {}

  Crafted run() {
    const CleanPass clean = judge_clean(oracle_, input_, out_);
    const int64_t targets =
        input_.goal().targeted() ? 0 : std::min(options_.targets, oracle_.model().classes() - 1);
    std::vector<int64_t> open = clean.open;
    for (int64_t run = 0; run < std::max<int64_t>(targets, 1) * options_.restarts && !open.empty(); ++run) {
      const Tensor aims =
          targets == 0 ? input_.targets : rivals(clean.logits, input_.y, run / options_.restarts);
      climb(run, open, aims);
      std::erase_if(open, [&](int64_t row) { return out_.first_success[static_cast<size_t>(row)] >= 0; });
    }
    return std::move(out_);
  }

 private:
  void climb(int64_t number, const std::vector<int64_t>& rows, const Tensor& aims) {
    Run run{LiveRows(input_, rows), aims.defined() ? gather(aims, rows) : aims, {}, {}, {}, {}, {}, {}};
    run.x = random_start(run.live.input().x, stages_[0].ball, options_.seed, run.live.input().samples,
                         static_cast<uint32_t>(number));
    const int64_t stages = static_cast<int64_t>(stages_.size());
    int64_t counted = number * (options_.iters + stages);
    for (size_t s = 0; s < stages_.size() && !run.live.empty(); ++s) {
      if (s > 0) run.x = project(run.best_x, run.live.input().x, stages_[s].ball);
      begin(run, stages_[s], s == 0);
      climb(run, stages_[s], s + 1 == stages_.size(), counted);
      counted += stages_[s].iters + 1;
    }
  }

  /// What a stage starts with, at run.x.
  void begin(Run& run, const Stage& stage, bool first) const {
    const bool l1 = stage.ball.norm == Norm::l1;
    const int64_t pixels = row_size(run.x);
    run.before = run.x;
    run.progress.assign(run.live.size(), {.step = l1 ? stage.ball.eps : 2 * stage.ball.eps,
                                          .changed = static_cast<double>(pixels),
                                          .kept = (pixels + 4) / 5});
    if (l1 && !first) count_changes(run, run.x);
  }

  /// The steps of one stage. `counted`: steps of a row in all stages before.
  void climb(Run& run, const Stage& stage, bool decisive, int64_t counted) {
    auto checkpoint = stage.checkpoints.begin();
    int64_t window = *checkpoint;  // steps since the last checkpoint, at the next one
    for (int64_t taken = 0; taken <= stage.iters && !run.live.empty(); ++taken) {
      const bool last = taken == stage.iters;
      const LossGradient pass = evaluate(run, decisive && last);
      // The start counts as a step: it is not the image.
      const std::vector<bool> ended = judge(run, pass, decisive, counted + taken + 1);
      if (decisive && last) break;
      learn(run, pass, taken);
      if (last) break;
      if (checkpoint != stage.checkpoints.end() && taken == *checkpoint) {
        stage.ball.norm == Norm::l1 ? look_back_l1(run, stage.ball.eps) : look_back(run, window);
        if (++checkpoint != stage.checkpoints.end()) window = *checkpoint - taken;
      }
      if (decisive) leave(run, ended);
      advance(run, stage.ball, taken == 0);
    }
  }

  /// One pass at x_k; the last one needs no gradient.
  LossGradient evaluate(const Run& run, bool last) const {
    const Goal aim{run.live.input().y, run.aims};
    LossGradient pass = last ? oracle_.height(run.x, aim, loss_) : oracle_.ascent(run.x, aim, loss_);
    oracle_.confirm(run.x, run.live.goal(), pass.logits);
    return pass;
  }

  /// What the loss at x_k says of each row's progress.
  void learn(Run& run, const LossGradient& pass, int64_t taken) const {
    const std::vector<double> values = pass.value.to(DType::float64).to_vector<double>();
    run.gradient = pass.gradient.to(Device{});
    if (taken == 0) run.best_x = run.x.clone(), run.best_gradient = run.gradient.clone();
    std::vector<int64_t> better;
    for (size_t i = 0; i < values.size(); ++i) {
      Progress& own = run.progress[i];
      if (taken == 0) own.best = own.best_before = own.last = values[i];
      if (taken == 0 && options_.autoattack) own.last = 0;
      if (taken > 0) own.rises += values[i] > std::exchange(own.last, values[i]);
      if (values[i] > own.best) own.best = values[i], better.push_back(static_cast<int64_t>(i));
    }
    scatter(run.best_x, better, gather(run.x, better));
    scatter(run.best_gradient, better, gather(run.gradient, better));
  }

  /// The checkpoint after a window of `steps`: rows that do not advance go back to their best with half the
  /// step.
  void look_back(Run& run, int64_t steps) const {
    std::vector<int64_t> back;
    for (size_t i = 0; i < run.progress.size(); ++i) {
      Progress& own = run.progress[i];
      const bool few = static_cast<double>(own.rises) <= options_.rho * static_cast<double>(steps);
      const bool stale = !own.halved && own.best_before >= own.best;
      own.halved = few || stale;
      own.best_before = own.best;
      own.rises = 0;
      if (!own.halved) continue;
      own.step /= 2;
      back.push_back(static_cast<int64_t>(i));
    }
    send_back(run, back);
  }

  /// The checkpoint for l1: rows whose best point has become sparser go back there with the first step, the
  /// others shorten it.
  void look_back_l1(Run& run, double first_step) const {
    std::vector<double> before;
    for (const Progress& own : run.progress) before.push_back(own.changed);
    count_changes(run, run.best_x);
    std::vector<int64_t> back;
    for (size_t i = 0; i < run.progress.size(); ++i) {
      Progress& own = run.progress[i];
      const bool sparser = own.changed < 0.95 * before[i];
      own.step = sparser ? first_step : std::max(own.step / 1.5, first_step / 10);
      if (sparser) back.push_back(static_cast<int64_t>(i));
    }
    send_back(run, back);
  }

  /// How sparse the next steps are, from the pixels that `points` change.
  static void count_changes(Run& run, const Tensor& points) {
    const Tensor changed = distances(run.live.input().x, points).l0;
    for (size_t i = 0; i < run.progress.size(); ++i) {
      Progress& own = run.progress[i];
      own.changed = changed.data<double>()[i];
      own.kept = std::max<int64_t>(static_cast<int64_t>(std::ceil(own.changed / 1.5)), 1);
    }
  }

  /// The rows at these positions go back to their best point.
  static void send_back(Run& run, const std::vector<int64_t>& back) {
    run.gradient = run.gradient.clone();
    run.x = run.x.clone();
    scatter(run.x, back, gather(run.best_x, back));
    scatter(run.gradient, back, gather(run.best_gradient, back));
  }

  /// Counts the passes, keeps the images to return and says which rows have ended; outside the final stage
  /// there are none. `counted`: steps of a row in all runs, starts included.
  std::vector<bool> judge(const Run& run, const LossGradient& pass, bool decisive, int64_t counted) {
    const std::vector<int64_t> predictions = predictions_of(pass.logits);
    const std::vector<double> values = pass.value.to(DType::float64).to_vector<double>();
    std::vector<bool> ended;
    for (size_t i = 0; i < run.live.size(); ++i) {
      const size_t row = run.live.row(i);
      const bool success = decisive && run.live.goal().reached(static_cast<int64_t>(i), predictions[i]);
      ++out_.forwards[row];
      out_.backwards[row] += pass.gradient.defined();
      if (success && out_.first_success[row] < 0) out_.first_success[row] = counted;
      const bool broken = out_.first_success[row] >= 0;
      out_.status[row] = broken ? Status::ok : Status::max_iter;
      ended.push_back(success && !options_.autoattack && oracle_.decides());
      if (!decisive) continue;
      if (broken ? !success : !(values[i] > best_[row])) continue;
      best_[row] = values[i];
      scatter(out_.x_adv, {run.live.rows()[i]}, gather(run.x, {static_cast<int64_t>(i)}));
    }
    return ended;
  }

  /// Rows that have ended, or that no step can move any more, leave.
  void leave(Run& run, const std::vector<bool>& ended) {
    const std::vector<Status> blocked = obstacles(run.gradient, run.gradient);
    const auto rests = [&](size_t i) {
      return row_equal(run.x, run.before, i) && row_equal(run.x, run.best_x, i);
    };
    std::vector<int64_t> going_on;
    for (size_t i = 0; i < run.live.size(); ++i) {
      const bool stuck = blocked[i] == Status::nan || (blocked[i] == Status::zero_grad && rests(i));
      if (!ended[i] && !stuck) going_on.push_back(static_cast<int64_t>(i));
      Status& status = out_.status[run.live.row(i)];
      if (stuck && status != Status::ok) status = blocked[i];
    }
    run.live.keep(going_on, run.aims, run.x, run.before, run.gradient, run.best_x, run.best_gradient,
                  run.progress);
  }

  static void advance(Run& run, const Threat& ball, bool first) {
    const Tensor& origin = run.live.input().x;
    if (ball.norm == Norm::l1) {
      std::vector<int64_t> kept;
      for (const Progress& own : run.progress) kept.push_back(own.kept);
      const Tensor next =
          project(step_rows(run.x, run.progress, sparse_signs(run.gradient, kept)), origin, ball);
      run.before = std::exchange(run.x, next);
      return;
    }
    const Tensor z = project(step_rows(run.x, run.progress, steepest(run.gradient, ball.norm)), origin, ball);
    const Tensor next = project(with_momentum(run.x, z, run.before, first ? 1 : 0.75), origin, ball);
    run.before = std::exchange(run.x, next);
  }

  const Oracle& oracle_;
  const Apgd::Options& options_;
  const Loss loss_;
  const std::vector<Stage> stages_;
  const AttackInput& input_;
  Crafted out_;
  std::vector<double> best_;  // largest loss of each row over all runs
};

AttackInfo info_of(const char* name, const char* about, std::vector<std::string> losses, int64_t targets) {
  AttackInfo info{
      name,
      about,
      {eps_setting(0.3), norm_setting("linf", {"linf", "l2", "l1"}), iters_setting(100),
       AttackSetting::integer("restarts", 1, 1, 1'000'000, "random starts for rows that failed"),
       AttackSetting::number("rho", 0.75, 0, 1, "share of rising steps below which the step is halved"),
       AttackSetting::word("compat", "none", {"none", "autoattack"}, "rules of another library")},
      {},
      {}};
  if (targets > 0)
    info.settings.push_back(
        AttackSetting::integer("targets", targets, 1, 1'000'000, "likeliest classes tried"));
  else
    info.settings.push_back(AttackSetting::word("loss", losses[0], losses, "what is differentiated"));
  info.make = [targets](const AttackSettings& s) -> std::unique_ptr<Attack> {
    return std::make_unique<Apgd>(Apgd::Options{.norm = parse_norm(s.word("norm")),
                                                .eps = s.number("eps"),
                                                .iters = s.integer("iters"),
                                                .restarts = s.integer("restarts"),
                                                .rho = s.number("rho"),
                                                .loss = targets > 0 ? "dlr" : s.word("loss"),
                                                .targets = targets > 0 ? s.integer("targets") : 0,
                                                .autoattack = s.word("compat") == "autoattack",
                                                .seed = s.seed()});
  };
  info.samples = {"eps=0.07,iters=12,restarts=2", "norm=l2,eps=0.4,iters=8",
                  "eps=0.1,iters=8,compat=autoattack", "norm=l1,eps=3,iters=10,restarts=2"};
  return info;
}

}  // namespace

std::vector<int64_t> apgd_checkpoints(int64_t iters) {
  const auto share = [&](double of) {
    return std::max<int64_t>(static_cast<int64_t>(of * static_cast<double>(iters)), 1);
  };
  std::vector<int64_t> result;
  int64_t window = share(0.22);
  for (int64_t at = window; at <= iters; at += window) {
    result.push_back(at);
    window = std::max(window - share(0.03), share(0.06));
  }
  return result;
}

std::vector<int64_t> apgd_l1_checkpoints(int64_t iters) {
  const int64_t window = std::max<int64_t>(iters / 25, 1);
  std::vector<int64_t> result;
  for (int64_t at = window; at <= iters; at += window) result.push_back(at);
  return result;
}

Apgd::Apgd(Options options) : options_(std::move(options)) {
  const std::string who = name();
  validate(Threat{options_.norm, options_.eps}, who.c_str(), {Norm::linf, Norm::l2, Norm::l1});
  validate_count(options_.iters, "iters", who);
  validate_count(options_.restarts, "restarts", who);
  check(options_.targets >= 0 && options_.targets <= 1'000'000, "{}: targets = {}, 0 to 1000000 expected",
        who, options_.targets);
  check(options_.rho >= 0 && options_.rho <= 1, "{}: rho = {}, a number in [0, 1] expected", who,
        options_.rho);
}

std::string Apgd::name() const {
  if (options_.targets > 0) return "apgd-t";
  const Loss::Kind kind = options_.loss.kind();
  return kind == Loss::Kind::dlr || kind == Loss::Kind::margin ? "apgd-dlr" : "apgd-ce";
}

std::string Apgd::repr() const {
  return fmt::format(
      "Apgd({{.norm = Norm::{}, .eps = {}, .iters = {}, .restarts = {}, .rho = {}, .loss = \"{}\", .targets "
      "= {}, .autoattack = {}, .seed = {}}})",
      name_of(options_.norm), options_.eps, options_.iters, options_.restarts, options_.rho,
      options_.loss.name(), options_.targets, options_.autoattack, options_.seed);
}

Crafted Apgd::craft(const Oracle& oracle, const AttackInput& input) const {
  const bool targeted = options_.targets > 0 || input.goal().targeted();
  const bool dlr = options_.targets > 0 || options_.loss.kind() == Loss::Kind::dlr;
  const int64_t least = !dlr ? 2 : targeted ? 4 : 3, classes = oracle.model().classes();
  check(classes >= least, "{}: its loss needs {} classes, the model has {}", name(), least, classes);
  return Search(oracle, options_, input).run();
}

AttackInfo Apgd::ce_info() {
  return info_of("apgd-ce", "pgd that finds its step size, on cross-entropy (Croce and Hein, ICML 2020)",
                 {"ce", "ce-exact"}, 0);
}

AttackInfo Apgd::dlr_info() {
  return info_of("apgd-dlr", "the same on the difference of logits ratio, which scaled logits do not mask",
                 {"dlr", "margin"}, 0);
}

AttackInfo Apgd::targets_info() {
  return info_of("apgd-t", "the same on its targeted form, one likely class after the other", {}, 9);
}

}  // namespace hashgrad
