#include "attacks/hop_skip_jump.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "attacks/probes.h"
#include "attacks/rows.h"
#include "core/random.h"
#include "datasets/tensor_file.h"

namespace hashgrad {
namespace {

constexpr int64_t most_iters = 100'000;
constexpr int64_t most_draws = 1 << 14;  // a random sequence is named by 32 bits, see draw()
constexpr int64_t most_halvings = 30;

template <class T>
T into_box(double v) {
  return std::clamp(static_cast<T>(v), T{0}, T{1});
}

/// The walk of all rows, step by step together; they do not know of each other.
template <class T>
class Walk {
 public:
  Walk(const Oracle& oracle, const HopSkipJump::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        linf_(options.norm == Norm::linf),
        image_(input.x.shape().without(0)),
        size_(image_.numel()),
        theta_(std::pow(static_cast<double>(size_), linf_ ? -2 : -1.5)),
        out_(input.x),
        live_(input, judge_clean(oracle, input, out_).open),
        x_(live_.input().x.clone()) {}

  Crafted run() {
    if (!live_.empty()) start();
    if (live_.empty()) return std::move(out_);
    goal_ = live_.goal();
    const size_t n = live_.size();
    reach_.assign(n, 0), distance_.assign(n, 0), best_.assign(n, std::numeric_limits<double>::infinity());
    back_to_boundary();
    for (int64_t t = 1; t <= options_.iters; ++t) {
      jump(along_normal(t), t);
      back_to_boundary();
    }
    return std::move(out_);
  }

 private:
  const T* clean(int64_t i) const { return live_.input().x.template data<T>() + i * size_; }
  T* point(int64_t i) { return x_.data<T>() + i * size_; }

  /// Sequence `number` of step t of row i; step 0 are the starting images.
  Random draw(int64_t i, int64_t t, int64_t number) const {
    return {options_.seed, Stream::attack,
            static_cast<uint64_t>(live_.input().samples[static_cast<size_t>(i)]),
            static_cast<uint32_t>(t * most_draws + number)};
  }

  /// Whether image(i, pixels), one for each row i in `rows`, reaches that row's goal.
  template <class Image>
  std::vector<bool> decide(const std::vector<int64_t>& rows, const Goal& goal, const Image& image) {
    std::vector<bool> reached(rows.size());
    ask<T>(
        oracle_, static_cast<int64_t>(rows.size()), image_,
        [&](int64_t p, T* pixels) { image(rows[static_cast<size_t>(p)], pixels); },
        [&](int64_t first, const Tensor&, const Tensor& logits) {
          const std::vector<int64_t> classes = predictions_of(logits);
          for (size_t j = 0; j < classes.size(); ++j) {
            const size_t p = static_cast<size_t>(first) + j;
            reached[p] = goal.reached(rows[p], classes[j]);
            ++out_.forwards[live_.row(static_cast<size_t>(rows[p]))];
          }
        });
    return reached;
  }

  std::vector<int64_t> all_rows() const {
    std::vector<int64_t> rows(live_.size());
    std::iota(rows.begin(), rows.end(), 0);
    return rows;
  }

  /// Puts every row on the first starting image that reaches its goal; rows without one leave.
  void start() {
    const std::vector<int64_t> started = options_.starts.defined() ? start_from_given() : start_from_noise();
    live_.keep(started, x_);
  }

  std::vector<int64_t> start_from_given() {
    const Tensor pool = options_.starts.to(x_.dtype()).contiguous();
    check(pool.rank() == 4 && pool.shape().without(0) == image_,
          "hop-skip-jump: starting images of shape {}, the model takes [N,{},{},{}]", pool.shape(), image_[0],
          image_[1], image_[2]);
    const std::vector<int64_t> classes = predictions_of(oracle_.exact_logits(pool));
    const Goal goal = live_.goal();
    std::vector<int64_t> started;
    for (const int64_t i : all_rows()) {
      const auto found =
          std::find_if(classes.begin(), classes.end(), [&](int64_t k) { return goal.reached(i, k); });
      const int64_t tried = found - classes.begin() + (found != classes.end());
      out_.forwards[live_.row(static_cast<size_t>(i))] += tried;
      if (found == classes.end()) continue;
      begin(i, pool.data<T>() + (tried - 1) * size_, tried);
      started.push_back(i);
    }
    return started;
  }

  std::vector<int64_t> start_from_noise() {
    const Goal goal = live_.goal();
    std::vector<int64_t> searching = all_rows(), started;
    for (int64_t tried = 1; tried <= options_.draws && !searching.empty(); ++tried) {
      const auto noise = [&](int64_t i, T* pixels) {
        Random random = draw(i, 0, tried - 1);
        for (int64_t j = 0; j < size_; ++j) pixels[j] = static_cast<T>(random.uniform());
      };
      const std::vector<bool> reached = decide(searching, goal, noise);
      std::vector<int64_t> left;
      for (size_t p = 0; p < searching.size(); ++p) {
        if (!reached[p]) {
          left.push_back(searching[p]);
          continue;
        }
        std::vector<T> image(static_cast<size_t>(size_));
        noise(searching[p], image.data());
        begin(searching[p], image.data(), tried);
        started.push_back(searching[p]);
      }
      searching = std::move(left);
    }
    std::sort(started.begin(), started.end());
    return started;
  }

  void begin(int64_t i, const T* image, int64_t tried) {
    std::copy_n(image, size_, point(i));
    const size_t row = live_.row(static_cast<size_t>(i));
    out_.status[row] = Status::ok, out_.first_success[row] = tried;
  }

  /// ||image - clean image of row i||, in float64.
  double length(int64_t i, const T* image) const {
    double sum = 0, largest = 0;
    for (int64_t j = 0; j < size_; ++j) {
      const double d = std::abs(static_cast<double>(image[j]) - static_cast<double>(clean(i)[j]));
      sum += d * d, largest = std::max(largest, d);
    }
    return linf_ ? largest : std::sqrt(sum);
  }

  /// The image on the way from the clean one (share 0) to row i's point (share 1): on the line between them
  /// for l2, with the change of each pixel cut at share * reach for linf.
  void between(int64_t i, double share, T* image) {
    const T *from = clean(i), *to = point(i);
    const double most = share * reach_[static_cast<size_t>(i)];
    for (int64_t j = 0; j < size_; ++j) {
      const double a = static_cast<double>(from[j]), change = static_cast<double>(to[j]) - a;
      image[j] = into_box<T>(a + (linf_ ? std::clamp(change, -most, most) : share * change));
    }
  }

  /// Bisects the way from each row's point to its clean image and leaves the point where the goal is just
  /// reached. Notes the distances before (reach_) and after (distance_), and the nearest success.
  void back_to_boundary() {
    const std::vector<int64_t> all = all_rows();
    std::vector<double> low(all.size(), 0), high(all.size(), 1);
    for (const int64_t i : all) reach_[static_cast<size_t>(i)] = length(i, point(i));
    const auto open = [&](int64_t i) {
      const size_t at = static_cast<size_t>(i);
      const double enough = linf_ ? std::min(theta_, theta_ / reach_[at]) : theta_;
      return high[at] - low[at] > enough;
    };
    for (;;) {
      std::vector<int64_t> rows;
      std::copy_if(all.begin(), all.end(), std::back_inserter(rows), open);
      if (rows.empty()) break;
      const auto middle = [&](int64_t i) {
        return (low[static_cast<size_t>(i)] + high[static_cast<size_t>(i)]) / 2;
      };
      const std::vector<bool> reached =
          decide(rows, goal_, [&](int64_t i, T* pixels) { between(i, middle(i), pixels); });
      for (size_t p = 0; p < rows.size(); ++p)
        (reached[p] ? high : low)[static_cast<size_t>(rows[p])] = middle(rows[p]);
    }
    for_images(static_cast<int64_t>(all.size()), size_,
               [&](int64_t i) { settle(i, high[static_cast<size_t>(i)]); });
  }

  void settle(int64_t i, double share) {
    const size_t at = static_cast<size_t>(i), row = live_.row(at);
    std::vector<T> image(static_cast<size_t>(size_));
    between(i, share, image.data());
    if (share < 1)
      std::copy(image.begin(), image.end(), point(i));  // at 1 rounding would be a point not asked about
    distance_[at] = length(i, point(i));
    if (distance_[at] >= best_[at]) return;
    best_[at] = distance_[at];
    std::copy_n(point(i), size_, out_.x_adv.template data<T>() + static_cast<int64_t>(row) * size_);
  }

  /// What the probes of one step say, summed over those of each row.
  struct Ballot {
    std::vector<double> balance;  // [rows]: votes, +1 where the goal is reached and -1 where it is not
    std::vector<double> votes,
        moves;  // [rows,C,H,W]: of vote * move and of move, a probe's way from the point

    Ballot(size_t rows, size_t pixels) : balance(rows), votes(rows * pixels), moves(rows * pixels) {}
  };

  /// For each row a direction of about the boundary's normal, away from the clean side: [rows,C,H,W], of
  /// length 1 for l2, signs for linf, zero where nothing was learnt.
  std::vector<double> along_normal(int64_t t) {
    const int64_t probes = std::min(
        options_.most_probes,
        static_cast<int64_t>(static_cast<double>(options_.probes) * std::sqrt(static_cast<double>(t))));
    Ballot ballot = poll(t, probes);
    for_images(static_cast<int64_t>(live_.size()), size_, [&](int64_t i) {
      out_.forwards[live_.row(static_cast<size_t>(i))] += probes;
      // Votes count by how far they are from their mean, unless they all agree.
      const double mean = ballot.balance[static_cast<size_t>(i)] / static_cast<double>(probes);
      orient(i, std::abs(mean) == 1 ? 0 : mean, ballot);
    });
    return std::move(ballot.votes);
  }

  /// Decides about the probes of step t.
  Ballot poll(int64_t t, int64_t probes) {
    Ballot ballot(live_.size(), static_cast<size_t>(size_));
    ask<T>(
        oracle_, static_cast<int64_t>(live_.size()) * probes, image_,
        [&](int64_t p, T* pixels) { probe(p / probes, t, p % probes, pixels); },
        [&](int64_t first, const Tensor& images, const Tensor& logits) {
          const std::vector<int64_t> classes = predictions_of(logits);
          const int64_t end = first + images.size(0), row = first / probes;
          for_images((end - 1) / probes - row + 1, size_ * std::min(probes, end - first), [&](int64_t r) {
            const int64_t i = row + r;
            for (int64_t p = std::max(first, i * probes); p < std::min(end, (i + 1) * probes); ++p) {
              const bool reached = goal_.reached(i, classes[static_cast<size_t>(p - first)]);
              cast(i, reached ? 1 : -1, images.data<T>() + (p - first) * size_, ballot);
            }
          });
        });
    return ballot;
  }

  /// A probe of row i votes; one that the box cut, for where it really went.
  void cast(int64_t i, double vote, const T* probe, Ballot& ballot) {
    ballot.balance[static_cast<size_t>(i)] += vote;
    for (int64_t j = 0; j < size_; ++j) {
      const double move = static_cast<double>(probe[j]) - static_cast<double>(point(i)[j]);
      ballot.votes[static_cast<size_t>(i * size_ + j)] += vote * move;
      ballot.moves[static_cast<size_t>(i * size_ + j)] += move;
    }
  }

  /// Turns the votes of row i, less `mean` of each, into its direction.
  void orient(int64_t i, double mean, Ballot& ballot) const {
    double sum = 0;
    for (int64_t j = i * size_; j < (i + 1) * size_; ++j) {
      double& v = ballot.votes[static_cast<size_t>(j)];
      v -= mean * ballot.moves[static_cast<size_t>(j)];
      sum += v * v;
    }
    for (int64_t j = i * size_; j < (i + 1) * size_; ++j) {
      double& v = ballot.votes[static_cast<size_t>(j)];
      v = sum == 0 ? 0 : linf_ ? (v > 0) - (v < 0) : v / std::sqrt(sum);
    }
  }

  /// Row i's point moved by its probe radius in a random direction, normal for l2, uniform for linf.
  void probe(int64_t i, int64_t t, int64_t number, T* pixels) {
    Random random = draw(i, t, number);
    std::vector<double> u(static_cast<size_t>(size_));
    double sum = 0;
    for (double& v : u) v = linf_ ? 2 * random.uniform_double() - 1 : random.normal(), sum += v * v;
    const double d = static_cast<double>(size_);
    const double radius = t == 1 ? 0.1 : theta_ * reach_[static_cast<size_t>(i)] * (linf_ ? d : std::sqrt(d));
    for (int64_t j = 0; j < size_; ++j)
      pixels[j] = into_box<T>(static_cast<double>(point(i)[j]) +
                              radius / std::sqrt(std::max(sum, 1e-300)) * u[static_cast<size_t>(j)]);
  }

  /// Moves every row along its direction by distance / sqrt(t), halved until its goal is reached there; a row
  /// for which it never is stays.
  void jump(const std::vector<double>& directions, int64_t t) {
    std::vector<double> size = distance_;
    for (double& s : size) s /= std::sqrt(static_cast<double>(t));
    const auto moved = [&](int64_t i, T* pixels) {
      for (int64_t j = 0; j < size_; ++j)
        pixels[j] =
            into_box<T>(static_cast<double>(point(i)[j]) +
                        size[static_cast<size_t>(i)] * directions[static_cast<size_t>(i * size_ + j)]);
    };
    std::vector<int64_t> open = all_rows();
    for (int64_t halvings = 0; halvings <= most_halvings && !open.empty(); ++halvings) {
      const std::vector<bool> reached = decide(open, goal_, moved);
      std::vector<int64_t> left;
      for (size_t p = 0; p < open.size(); ++p) {
        const int64_t i = open[p];
        if (reached[p])
          moved(i, point(i));  // pixel by pixel, from the point itself
        else
          size[static_cast<size_t>(i)] /= 2, left.push_back(i);
      }
      open = std::move(left);
    }
  }

  const Oracle& oracle_;
  const HopSkipJump::Options& options_;
  const bool linf_;
  const Shape image_;
  const int64_t size_;
  const double theta_;  // how exactly the boundary is located, relative to the distance
  Crafted out_;
  LiveRows live_;
  Tensor x_;                              // [rows,C,H,W], each row's present point, which reaches its goal
  Goal goal_;                             // of these rows
  std::vector<double> reach_, distance_;  // of the point, before and after the last bisection
  std::vector<double> best_;              // smallest distance so far
};

}  // namespace

HopSkipJump::HopSkipJump(Options options) : options_(std::move(options)) {
  validate(Threat{.norm = options_.norm}, "hop-skip-jump");
  validate_count(options_.iters, "iters", "hop-skip-jump", most_iters);
  check(options_.probes >= 2 && options_.most_probes >= options_.probes && options_.most_probes <= most_draws,
        "hop-skip-jump: probes = {}, most-probes = {}, 2 <= probes <= most-probes <= {} expected",
        options_.probes, options_.most_probes, most_draws);
  validate_count(options_.draws, "draws", "hop-skip-jump", most_draws);
}

std::string HopSkipJump::repr() const {
  return fmt::format(
      "HopSkipJump({{.norm = Norm::{}, .iters = {}, .probes = {}, .most_probes = {}, .starts = {}, .draws = "
      "{}, .seed = {}}})",
      name_of(options_.norm), options_.iters, options_.probes, options_.most_probes,
      options_.starts.defined() ? fmt::format("{} images", options_.starts.size(0)) : "noise", options_.draws,
      options_.seed);
}

Crafted HopSkipJump::craft(const Oracle& oracle, const AttackInput& input) const {
  return for_float_type(input.x.dtype(), "hop-skip-jump",
                        [&]<class T>() { return Walk<T>(oracle, options_, input).run(); });
}

AttackInfo HopSkipJump::info() {
  return {
      "hop-skip-jump",
      "along the decision boundary, by decisions alone (Chen et al., S&P 2020)",
      {norm_setting("l2"), iters_setting(64),
       AttackSetting::integer("probes", 100, 2, 10'000, "decisions around a point in the first step"),
       AttackSetting::integer("most-probes", 10'000, 2, most_draws, "most decisions in any step"),
       AttackSetting::word("start", "", {}, "file with images x to start from; else uniform noise"),
       draws_setting(1000)},
      [](const AttackSettings& s) -> std::unique_ptr<Attack> {
        Tensor starts;
        if (!s.word("start").empty()) {
          const Dataset data = read_tensor_file(s.word("start"));
          starts = data.images_float(0, data.size());
        }
        return std::make_unique<HopSkipJump>(Options{.norm = parse_norm(s.word("norm")),
                                                     .iters = s.integer("iters"),
                                                     .probes = s.integer("probes"),
                                                     .most_probes = s.integer("most-probes"),
                                                     .starts = starts,
                                                     .draws = s.integer("draws"),
                                                     .seed = s.seed()});
      },
      {"iters=3,probes=10,most-probes=12,draws=20", "norm=linf,iters=3,probes=10,most-probes=12,draws=20"}};
}

}  // namespace hashgrad
