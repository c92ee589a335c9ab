#include "attacks/square.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attacks/rows.h"
#include "core/parallel.h"
#include "core/random.h"

namespace hashgrad {
namespace {

/// One image's shape, and where a pixel stands in it.
struct Grid {
  int64_t channels, height, width;

  int64_t at(int64_t c, int64_t row, int64_t column) const { return (c * height + row) * width + column; }
  int64_t size() const { return channels * height * width; }
  /// Side of a window that covers `share` of a channel and fits.
  int64_t side(double share) const {
    const double wanted = std::round(std::sqrt(share * static_cast<double>(height * width)));
    return std::clamp<int64_t>(static_cast<int64_t>(wanted), 1, std::min(height, width));
  }
};

struct Window {
  int64_t top, left, side;

  bool holds(int64_t row, int64_t column) const {
    return top <= row && row < top + side && left <= column && column < left + side;
  }
};

Window draw_window(Random& random, const Grid& grid, int64_t side) {
  const uint32_t top = random.below(static_cast<uint32_t>(grid.height - side + 1));
  const uint32_t left = random.below(static_cast<uint32_t>(grid.width - side + 1));
  return {top, left, side};
}

double draw_sign(Random& random) { return random.below(2) == 0 ? -1 : 1; }

/// A hill over height x width pixels: the sum of 1 / (j + 1)^2 from the distance to the middle on
/// (Chebyshev's).
double hill(int64_t height, int64_t width, int64_t row, int64_t column) {
  double sum = 0;
  const int64_t distance = std::max(std::abs(row - height / 2), std::abs(column - width / 2));
  for (int64_t j = distance; j <= std::max(height, width) / 2; ++j)
    sum += 1 / static_cast<double>((j + 1) * (j + 1));
  return sum;
}

/// What a pixel's change adds to the mass of a perturbation: its square, for l1 its size.
double mass_of(Norm norm, double v) { return norm == Norm::l1 ? std::abs(v) : v * v; }
/// The norm of a perturbation of this mass.
double norm_of(Norm norm, double mass) { return norm == Norm::l1 ? mass : std::sqrt(mass); }

/// A hill beside a valley, side x side, of norm 1; upright or lying, as drawn.
std::vector<double> draw_hills(Random& random, Norm norm, int64_t side) {
  const bool lying = random.below(2) == 1;
  const int64_t half = side / 2;
  std::vector<double> result;
  double sum = 0;
  for (int64_t i = 0; i < side; ++i)
    for (int64_t j = 0; j < side; ++j) {
      const int64_t row = lying ? j : i, column = lying ? i : j;
      result.push_back(row < half ? hill(half, side, row, column)
                                  : -hill(side - half, side, row - half, column));
      sum += mass_of(norm, result.back());
    }
  for (double& v : result) v /= norm_of(norm, sum);
  return result;
}

// Perturbations of one image [C,H,W], in float64. The caller projects what comes of them into ball and box.

/// Columns of +-eps, drawn per channel.
void draw_stripes(Random& random, const Grid& grid, double eps, double* delta) {
  for (int64_t c = 0; c < grid.channels; ++c)
    for (int64_t column = 0; column < grid.width; ++column) {
      const double value = eps * draw_sign(random);
      for (int64_t row = 0; row < grid.height; ++row) delta[grid.at(c, row, column)] = value;
    }
}

/// One window of +-eps per channel.
void draw_square(Random& random, const Grid& grid, double eps, double share, double* delta) {
  const Window window = draw_window(random, grid, grid.side(share));
  for (int64_t c = 0; c < grid.channels; ++c) {
    const double value = eps * draw_sign(random);
    for (int64_t row = window.top; row < window.top + window.side; ++row)
      std::fill_n(delta + grid.at(c, row, window.left), window.side, value);
  }
}

/// delta * eps / ||delta||.
void scale_to(const Threat& ball, int64_t n, double* delta) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += mass_of(ball.norm, delta[i]);
  for (int64_t i = 0; i < n && sum > 0; ++i) delta[i] *= ball.eps / norm_of(ball.norm, sum);
}

/// Five by five hills and valleys, their signs drawn per channel, together as long as eps.
void draw_tiles(Random& random, const Grid& grid, const Threat& ball, double* delta) {
  const int64_t side = std::max<int64_t>(std::min(grid.height, grid.width) / 5, 1);
  std::fill_n(delta, grid.size(), 0.0);
  for (int64_t top = grid.height % side / 2; top + side <= grid.height; top += side)
    for (int64_t left = grid.width % side / 2; left + side <= grid.width; left += side) {
      const std::vector<double> hills = draw_hills(random, ball.norm, side);
      for (int64_t c = 0; c < grid.channels; ++c) {
        const double sign = draw_sign(random);
        for (int64_t i = 0; i < side * side; ++i)
          delta[grid.at(c, top + i / side, left + i % side)] = sign * hills[static_cast<size_t>(i)];
      }
    }
  scale_to(ball, grid.size(), delta);
}

/// Moves the mass of one window, and what is left of the budget, into another one: hills of a drawn sign on
/// top of what is there, channel by channel.
void move_mass(Random& random, const Grid& grid, const Threat& ball, double share, double* delta) {
  const int64_t most = std::min(grid.height, grid.width), odd = std::max<int64_t>(grid.side(share), 3) | 1;
  const int64_t side = std::min(odd, most - (most + 1) % 2);
  const Window to = draw_window(random, grid, side), from = draw_window(random, grid, side);
  const std::vector<double> hills = draw_hills(random, ball.norm, side);
  double used = 0;
  for (int64_t i = 0; i < grid.size(); ++i) used += mass_of(ball.norm, delta[i]);
  const double unused =
      std::max(mass_of(ball.norm, ball.eps) - used, 0.0) / static_cast<double>(grid.channels);
  for (int64_t c = 0; c < grid.channels; ++c) {
    double there = 0, both = 0;  // mass of the window to fill, and of the two together
    for (int64_t row = 0; row < grid.height; ++row)
      for (int64_t column = 0; column < grid.width; ++column) {
        const double mass = mass_of(ball.norm, delta[grid.at(c, row, column)]);
        if (to.holds(row, column)) there += mass;
        if (to.holds(row, column) || from.holds(row, column)) both += mass;
      }
    const double sign = draw_sign(random);
    std::vector<double> fresh;
    double sum = 0;
    for (int64_t i = 0; i < side * side; ++i) {
      const double old = delta[grid.at(c, to.top + i / side, to.left + i % side)];
      fresh.push_back(sign * hills[static_cast<size_t>(i)] +
                      (there > 0 ? old / norm_of(ball.norm, there) : 0));
      sum += mass_of(ball.norm, fresh.back());
    }
    for (int64_t row = from.top; row < from.top + side; ++row)
      std::fill_n(delta + grid.at(c, row, from.left), side, 0.0);
    const double scale = sum > 0 ? norm_of(ball.norm, (unused + both) / sum) : 0;
    for (int64_t i = 0; i < side * side; ++i)
      delta[grid.at(c, to.top + i / side, to.left + i % side)] = scale * fresh[static_cast<size_t>(i)];
  }
  scale_to(ball, grid.size(), delta);
}

/// The rows without success; each proposes, is judged, and leaves once it has succeeded.
class Search {
 public:
  Search(const Oracle& oracle, const Square::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        ball_{options.norm, options.eps},
        grid_{input.x.size(1), input.x.size(2), input.x.size(3)},
        out_(input.x),
        live_(input, judge_clean(oracle, input, out_).open),
        best_(live_.size(), -std::numeric_limits<double>::infinity()),
        x_(live_.input().x) {}

  Crafted run() {
    for (int64_t step = 0; step < options_.iters && !live_.empty(); ++step) judge(propose(step), step);
    scatter(out_.x_adv, live_.rows(), x_);
    return std::move(out_);
  }

 private:
  /// The first points of the search, or changes of the best so far.
  Tensor propose(int64_t step) const {
    Tensor result = Tensor::empty(x_.shape(), x_.dtype());
    for_float_type(x_.dtype(), "square", [&]<class T>() {
      parallel_for(static_cast<int64_t>(live_.size()), [&](int64_t i) {
        const int64_t n = grid_.size();
        const T *origin = live_.input().x.data<T>() + i * n, *now = x_.data<T>() + i * n;
        std::vector<double> delta(static_cast<size_t>(n));
        for (int64_t j = 0; j < n; ++j)
          delta[static_cast<size_t>(j)] = static_cast<double>(now[j]) - static_cast<double>(origin[j]);
        const int64_t sample = live_.input().samples[static_cast<size_t>(i)];
        change(
            Random(options_.seed, Stream::attack, static_cast<uint64_t>(sample), static_cast<uint32_t>(step)),
            step, delta.data());
        for (int64_t j = 0; j < n; ++j)
          result.data<T>()[i * n + j] =
              static_cast<T>(static_cast<double>(origin[j]) + delta[static_cast<size_t>(j)]);
      });
    });
    return project(result, live_.input().x, ball_);
  }

  void change(Random random, int64_t step, double* delta) const {
    const double share = square_share(options_.p, step - 1);
    if (options_.norm == Norm::linf)
      step == 0 ? draw_stripes(random, grid_, options_.eps, delta)
                : draw_square(random, grid_, options_.eps, share, delta);
    else
      step == 0 ? draw_tiles(random, grid_, ball_, delta) : move_mass(random, grid_, ball_, share, delta);
  }

  /// Keeps the proposals that are better; successes leave.
  void judge(const Tensor& proposed, int64_t step) {
    const Tensor logits = oracle_.exact_logits(proposed);
    const std::vector<int64_t> predictions = predictions_of(logits);
    const std::vector<double> values =
        Oracle::objective(logits, live_.goal(), "margin").to(DType::float64).to_vector<double>();
    std::vector<int64_t> better, going_on;
    for (size_t i = 0; i < live_.size(); ++i) {
      const size_t row = live_.row(i);
      const int64_t at = static_cast<int64_t>(i);
      ++out_.forwards[row];
      if (live_.goal().reached(at, predictions[i])) {
        scatter(out_.x_adv, {live_.rows()[i]}, gather(proposed, {at}));
        out_.status[row] = Status::ok;
        out_.first_success[row] = step + 1;
        continue;
      }
      going_on.push_back(at);
      if (values[i] > best_[i]) best_[i] = values[i], better.push_back(at);
    }
    x_ = x_.clone();
    scatter(x_, better, gather(proposed, better));
    live_.keep(going_on, best_, x_);
  }

  const Oracle& oracle_;
  const Square::Options& options_;
  const Threat ball_;
  const Grid grid_;
  Crafted out_;
  LiveRows live_;
  std::vector<double> best_;  // margin of each live row's best point; rises as the goal comes nearer
  Tensor x_;                  // these points, [rows,C,H,W]
};

}  // namespace

double square_share(double p, int64_t step) {
  for (const int64_t after : {10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000})
    if (step > after) p /= 2;
  return p;
}

Square::Square(Options options) : options_(options) {
  validate(Threat{options_.norm, options_.eps}, "square", {Norm::linf, Norm::l2, Norm::l1});
  validate_count(options_.iters, "iters", "square", 100'000'000);
  check(options_.p > 0 && options_.p <= 1, "square: p = {}, a number in (0, 1] expected", options_.p);
}

std::string Square::repr() const {
  return fmt::format("Square({{.norm = Norm::{}, .eps = {}, .iters = {}, .p = {}, .seed = {}}})",
                     name_of(options_.norm), options_.eps, options_.iters, options_.p, options_.seed);
}

Crafted Square::craft(const Oracle& oracle, const AttackInput& input) const {
  return Search(oracle, options_, input).run();
}

AttackInfo Square::info() {
  return {"square",
          "random squares, no gradient (Andriushchenko et al., ECCV 2020)",
          {eps_setting(0.3), norm_setting("linf", {"linf", "l2", "l1"}), iters_setting(5000),
           AttackSetting::number("p", 0.8, 0, 1, "share of the image in the first squares, above 0")},
          [](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<Square>(Options{.norm = parse_norm(s.word("norm")),
                                                    .eps = s.number("eps"),
                                                    .iters = s.integer("iters"),
                                                    .p = s.number("p"),
                                                    .seed = s.seed()});
          },
          {"eps=0.1,iters=60", "norm=l2,eps=0.6,iters=60", "norm=l1,eps=4,iters=60"}};
}

}  // namespace hashgrad
