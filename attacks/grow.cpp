#include "attacks/grow.h"

#include <algorithm>
#include <numeric>

#include "attacks/saliency.h"
#include "attacks/target.h"

namespace hashgrad {
namespace {

void check_budgets(const GrowOptions& options, double least, double most, const char* unit) {
  check(!options.budgets.empty(), "grow: no budgets");
  double previous = -1;
  for (const double b : options.budgets) {
    check(b >= least && b <= most && b > previous,
          "grow: budget {} {}, ascending numbers in [{}, {}] expected", b, unit, least, most);
    previous = b;
  }
}

/// Predicts every row under every budget, in parts of bounded size. images(rows, budget) crafts;
/// unchanged(row, budget index) says that a row's image is that of the budget before.
template <class Images, class Unchanged>
void evaluate(Growth& growth, const Oracle& oracle, const GrowOptions& options, const Images& images,
              const Unchanged& unchanged) {
  const size_t n = growth.clean.size();
  growth.predictions.assign(growth.budgets.size() * n, -1);
  std::vector<bool> changed(n, false);
  for (size_t b = 0; b < growth.budgets.size(); ++b) {
    int64_t* now = growth.predictions.data() + b * n;
    std::vector<int64_t> rows;
    for (size_t i = 0; i < n; ++i) {
      if (changed[i] && !options.fixed) continue;
      if (unchanged(i, b))
        now[i] = b == 0 ? growth.clean[i] : growth.predictions[(b - 1) * n + i];
      else
        rows.push_back(static_cast<int64_t>(i));
    }
    for (auto part = rows.begin(); part != rows.end();) {
      const auto end = part + std::min<int64_t>(options.batch, rows.end() - part);
      const std::vector<int64_t> some(part, end);
      const std::vector<int64_t> predictions = oracle.predict(images(some, growth.budgets[b]));
      for (size_t i = 0; i < some.size(); ++i) now[some[i]] = predictions[i];
      part = end;
    }
    for (size_t i = 0; i < n; ++i) changed[i] = changed[i] || (now[i] >= 0 && now[i] != growth.clean[i]);
    if (options.progress)
      options.progress(static_cast<double>(b + 1) / static_cast<double>(growth.budgets.size()));
  }
}

/// `otherwise(row)` is the status of a row that no budget changes.
template <class F>
void conclude(Growth& growth, const F& otherwise) {
  for (int64_t i = 0; i < growth.rows(); ++i) {
    const size_t row = static_cast<size_t>(i);
    if (growth.first_change(i) >= 0)
      growth.status.push_back(Status::ok);
    else
      growth.status.push_back(growth.zero_gradient[row] ? Status::zero_grad : otherwise(row));
  }
}

/// HFGSM: x + eps * sign(gradient), clipped.
Tensor moved(const Tensor& x, const Tensor& gradient, double eps) {
  return ascend(x, eps, gradient, x, {Norm::linf, eps});
}

/// The features of every row that HJSMA changes, the best first. They are found on the CPU (see
/// saliency()), so x stays there too, and goes to the model's device in the batches that are asked.
struct Order {
  std::vector<int64_t> clean;
  std::vector<bool> zero;
  std::vector<std::vector<int32_t>> features;  // [N][at most `most`]
};

template <class T>
std::vector<int32_t> best_features(const T* x, const T* rise, const T* drop, int64_t n, int64_t most) {
  const double up = slope_unit(rise, n), down = slope_unit(drop, n);
  std::vector<std::pair<double, int32_t>> scored;  // (-saliency, feature): ascending order is what is wanted
  for (int64_t i = 0; i < n; ++i)
    if (x[i] < 1 && rise[i] > 0 && drop[i] > 0)
      scored.emplace_back(-up * static_cast<double>(rise[i]) * (down * static_cast<double>(drop[i])),
                          static_cast<int32_t>(i));
  const auto end = scored.begin() + std::min<int64_t>(most, static_cast<int64_t>(scored.size()));
  std::partial_sort(scored.begin(), end, scored.end());
  std::vector<int32_t> features;
  for (auto s = scored.begin(); s != end; ++s) features.push_back(s->second);
  return features;
}

Order saliency_order(const Oracle& oracle, const Tensor& x, Outputs of, int64_t most) {
  Order order;
  for (int64_t begin = 0; begin < x.size(0); begin += oracle.batch()) {
    const Tensor part = x.slice(0, begin, std::min(x.size(0), begin + oracle.batch())).contiguous();
    const Tensor logits = oracle.logits(part);
    std::vector<int64_t> clean = predictions_of(logits), labels = clean;
    for (int64_t& k : labels) k = std::max<int64_t>(k, 0);
    const Tensor targets = choose_targets(TargetRule::runner_up, logits,
                                          Tensor::of(labels, {static_cast<int64_t>(labels.size())}));
    const Saliency map = saliency(oracle, part, targets, of);
    const std::vector<bool> zero = zero_rows(map.rise);
    order.clean.insert(order.clean.end(), clean.begin(), clean.end());
    order.zero.insert(order.zero.end(), zero.begin(), zero.end());
    for_float_type(x.dtype(), "grow_jsma", [&]<class T>() {
      const int64_t n = part.numel() / part.size(0);
      for (int64_t i = 0; i < part.size(0); ++i)
        order.features.push_back(best_features(part.data<T>() + i * n, map.rise.data<T>() + i * n,
                                               map.drop.data<T>() + i * n, n, most));
    });
  }
  return order;
}

/// These rows of x with their best `count` features set to 1.
Tensor raise(const Tensor& x, const std::vector<int64_t>& rows, const Order& order, int64_t count) {
  Tensor images = gather(x, rows);
  const int64_t n = rows.empty() ? 0 : images.numel() / images.size(0);
  for_float_type(x.dtype(), "grow_jsma", [&]<class T>() {
    T* pixel = images.data<T>();
    for (size_t i = 0; i < rows.size(); ++i, pixel += n) {
      const auto& features = order.features[static_cast<size_t>(rows[i])];
      for (size_t f = 0; f < std::min(static_cast<size_t>(count), features.size()); ++f)
        pixel[features[f]] = 1;
    }
  });
  return images;
}

std::vector<int64_t> all_rows(const Tensor& x) {
  std::vector<int64_t> rows(static_cast<size_t>(x.size(0)));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

}  // namespace

int64_t Growth::first_change(int64_t row) const {
  const size_t i = static_cast<size_t>(row);
  for (size_t b = 0; b < budgets.size(); ++b) {
    const int64_t now = predictions[b * clean.size() + i];
    if (now >= 0 && now != clean[i]) return static_cast<int64_t>(b);
  }
  return -1;
}

int64_t Growth::cumulative(size_t budget) const {
  int64_t hits = 0;
  for (int64_t i = 0; i < rows(); ++i) {
    const int64_t first = first_change(i);
    hits += first >= 0 && first <= static_cast<int64_t>(budget);
  }
  return hits;
}

int64_t Growth::fixed(size_t budget) const {
  int64_t hits = 0;
  for (size_t i = 0; i < clean.size(); ++i) {
    const int64_t now = predictions[budget * clean.size() + i];
    hits += now >= 0 && now != clean[i];
  }
  return hits;
}

Growth grow_fgsm(const Model& model, const Tensor& images, const Loss& loss, const GrowOptions& options) {
  validate(model, images, "grow_fgsm");
  check_budgets(options, 0, 1, "pixels");
  const Oracle oracle(model, {.batch = options.batch});
  const Tensor x = images.to(model.device()).contiguous();
  const LossGradient pass = oracle.ascent(x, {}, loss);
  const Readings clean = readings_of(pass);
  const std::vector<bool>& finite = clean.finite;
  Growth growth{options.budgets, clean.predictions, {}, {}, clean.zero};
  evaluate(
      growth, oracle, options,
      [&](const std::vector<int64_t>& rows, double eps) {
        return moved(gather(x, rows), gather(pass.gradient, rows), eps);
      },
      [&](size_t row, size_t) { return growth.zero_gradient[row] || !finite[row]; });
  conclude(growth, [&](size_t row) { return finite[row] ? Status::max_iter : Status::nan; });
  return growth;
}

Growth grow_jsma(const Model& model, const Tensor& images, Outputs of, const GrowOptions& options) {
  validate(model, images, "grow_jsma");
  check_budgets(options, 1, static_cast<double>(model.input_shape().numel()), "features");
  const Oracle oracle(model, {.batch = options.batch});
  const Tensor x = images.to(Device{});
  const Order order = saliency_order(oracle, x, of, static_cast<int64_t>(options.budgets.back()));
  Growth growth{options.budgets, order.clean, {}, {}, order.zero};
  const auto available = [&](size_t row) { return static_cast<double>(order.features[row].size()); };
  evaluate(
      growth, oracle, options,
      [&](const std::vector<int64_t>& rows, double count) {
        return raise(x, rows, order, static_cast<int64_t>(count));
      },
      [&](size_t row, size_t b) { return available(row) <= (b == 0 ? 0 : growth.budgets[b - 1]); });
  conclude(growth, [&](size_t row) {
    return available(row) < growth.budgets.back() ? Status::no_pair : Status::max_iter;
  });
  return growth;
}

Tensor fgsm_images(const Model& model, const Tensor& images, const Loss& loss, double eps, int64_t batch) {
  const Tensor x = images.to(model.device()).contiguous();
  return moved(x, Oracle(model, {.batch = batch}).ascent(x, {}, loss).gradient, eps).to(images.device());
}

Tensor jsma_images(const Model& model, const Tensor& images, Outputs of, int64_t features, int64_t batch) {
  const Tensor x = images.to(Device{});
  const Order order = saliency_order(Oracle(model, {.batch = batch}), x, of, features);
  return raise(x, all_rows(x), order, features).to(images.device());
}

}  // namespace hashgrad
