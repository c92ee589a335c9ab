#include "attacks/gradient.h"

#include <algorithm>

#include "attacks/attack.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/softmax.h"
#include "core/math_mode.h"
#include "cuda/attack_step.h"

namespace hashgrad {
namespace {

/// Most rows that one stacked backward pass carries; bounds memory, not results.
constexpr int64_t most_stacked_rows = 512;

/// `labels`, or what the logits predict (class 0 where that is none).
Tensor labels_or_predictions(const Tensor& labels, const Tensor& logits) {
  if (labels.defined()) return labels;
  std::vector<int64_t> own = predictions_of(logits);
  for (int64_t& k : own) k = std::max<int64_t>(k, 0);
  return Tensor::of(own, {static_cast<int64_t>(own.size())});
}

Tensor contiguous(const Tensor& t) { return t.defined() ? t.contiguous() : t; }

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

Tensor rows_of(const Tensor& t, int64_t begin, int64_t end) {
  return t.defined() ? t.slice(0, begin, end) : Tensor();
}

/// Writes `values` over rows [begin, begin + rows of values) of `whole`.
void put(Tensor& whole, int64_t begin, const Tensor& values) {
  whole.slice(0, begin, begin + values.size(0)).copy_from(values);
}

Tensor logits_of(const Model& model, const Tensor& x, int64_t batch) {
  Tensor result = Tensor::empty({x.size(0), model.classes()}, x.dtype(), x.device());
  for (int64_t begin = 0; begin < x.size(0); begin += batch)
    put(result, begin,
        model.logits(x.slice(0, begin, std::min(x.size(0), begin + batch)).to(model.device())));
  return result;
}

/// value_of(logits, begin, end) is what each row of images [begin, end) is differentiated by. Returns logits,
/// values and gradients.
template <class F>
std::vector<Tensor> differentiate_one(const Model& model, const Tensor& x, int64_t batch, const Pass& pass,
                                      const F& value_of) {
  const int64_t n = x.size(0);
  const Device device = model.device(), home = x.device();
  Tensor all_logits = Tensor::empty({n, model.classes()}, x.dtype(), home);
  Tensor values = Tensor::empty({n}, x.dtype(), home), gradients = Tensor::empty(x.shape(), x.dtype(), home);
  for (int64_t begin = 0; begin < n; begin += batch) {
    const int64_t end = std::min(n, begin + batch);
    const Variable image = Variable::leaf(x.slice(0, begin, end).to(device));  // [B,C,H,W]
    const Variable logits = model.logits(image, pass);                         // [B,K]
    const Variable value = value_of(logits, begin, end);                       // [B]
    const Tensor ones = Tensor::full({1, end - begin}, 1, x.dtype(), device);
    put(gradients, begin, vjp(value, {image}, ones)[0].reshape(image.shape()));
    put(all_logits, begin, logits.value());
    put(values, begin, value.value());
  }
  return {all_logits, values, gradients};
}

/// The mean over models of what `of` gives for each; of a single model as it is. Element by element, in the
/// models' order.
template <class F>
std::vector<Tensor> mean_over(const std::vector<const Model*>& models, const F& of) {
  std::vector<Tensor> mean = of(*models[0]);
  for (size_t m = 1; m < models.size(); ++m) {
    const std::vector<Tensor> next = of(*models[m]);
    for (size_t i = 0; i < mean.size(); ++i) mean[i] = mean[i] + next[i];
  }
  if (models.size() > 1)
    for (Tensor& t : mean) t = t * (1 / static_cast<double>(models.size()));
  return mean;
}

/// The most frequent class of each row, the lowest of equals; -1 if any vote is.
std::vector<int64_t> majority(const std::vector<std::vector<int64_t>>& votes, int64_t classes) {
  std::vector<int64_t> result;
  for (size_t row = 0; row < votes[0].size(); ++row) {
    std::vector<int64_t> counts(static_cast<size_t>(classes));
    bool numbers = true;
    for (const std::vector<int64_t>& vote : votes) {
      numbers = numbers && vote[row] >= 0;
      if (numbers) ++counts[static_cast<size_t>(vote[row])];
    }
    result.push_back(numbers ? std::max_element(counts.begin(), counts.end()) - counts.begin() : -1);
  }
  return result;
}

void check_options(const Model& model, const OracleOptions& options) {
  constexpr int64_t most = 100'000;
  check(options.batch >= 1, "attack: a batch of {} rows, at least 1 expected", options.batch);
  check(options.draws.count >= 1 && options.draws.count <= most, "attack: {} draws, 1 to {} expected",
        options.draws.count, most);
  check(options.draws.judge >= 1 && options.draws.judge <= most,
        "attack: {} draws to judge by, 1 to {} expected", options.draws.judge, most);
  const Model* surrogate = options.surrogate;
  check(!surrogate ||
            (surrogate->input_shape() == model.input_shape() && surrogate->classes() == model.classes() &&
             surrogate->dtype() == model.dtype() && surrogate->device() == model.device()),
        "attack: the surrogate {} cannot stand in for {}: images, classes, element types and devices must "
        "agree",
        surrogate ? short_text(surrogate->spec()) : "", short_text(model.spec()));
  check(!options.stand_ins || !(surrogate ? *surrogate : model).transforms().empty(),
        "attack: stand-ins (BPDA) were asked for, but the model has no input transforms: there is nothing to "
        "stand in for");
}

}  // namespace

Oracle::Oracle(const Model& model, const OracleOptions& options)
    : Oracle(model, options, options.draws.count, Stream::defence) {}

Oracle::Oracle(const Model& model, const OracleOptions& options, int64_t draws, Stream stream)
    : model_(model), options_(options), drawn_{&model} {
  check_options(model, options);
  if (randomised(model)) {
    if (!options_.realisations || !options_.realisations->of(model, options.draws.seed))
      options_.realisations = std::make_shared<Realisations>(model, options.draws.seed);
    drawn_ = options_.realisations->first(draws, stream);
  }
  if (options.surrogate)
    behind_ = std::make_shared<const Oracle>(
        *options.surrogate,
        OracleOptions{.batch = options.batch, .draws = options.draws, .stand_ins = options.stand_ins});
}

Oracle Oracle::judge(const Model& model, const OracleOptions& options) {
  OracleOptions alone = options;
  alone.surrogate = nullptr;
  alone.stand_ins = false;
  Oracle oracle(model, alone, options.draws.judge,
                options.draws.rehearsal ? Stream::rehearsal : Stream::judge);
  oracle.votes_ = randomised(model);
  return oracle;
}

void Oracle::check_stop() const {
  if (options_.stop && *options_.stop) throw Stopped{};
}

/// The mean logits [B,K] as one graph, so that each draw goes forward once, whatever is asked of the mean.
Variable Oracle::answer(const Variable& image) const {
  const Pass pass{.stand_ins = options_.stand_ins};
  Variable sum = drawn_[0]->logits(image, pass);
  for (size_t d = 1; d < drawn_.size(); ++d) sum = sum + drawn_[d]->logits(image, pass);
  return drawn_.size() == 1 ? sum : sum * (1 / static_cast<double>(drawn_.size()));
}

/// Rows in one graph with so many cotangents for each.
int64_t Oracle::stacked_rows(int64_t copies) const {
  return std::max<int64_t>(1, std::clamp<int64_t>(most_stacked_rows / copies, 1, batch()) / draws());
}

/// Labels that all draws, or a model and its surrogate, must agree on before either is differentiated;
/// undefined where the one pass can find them.
Tensor Oracle::settled(const Tensor& labels, const Tensor& x) const {
  const bool one_pass = drawn_.size() == 1 && !behind_;
  return labels.defined() || one_pass ? labels : labels_or_predictions({}, logits(x));
}

Tensor Oracle::logits(const Tensor& x) const {
  check_stop();
  return mean_over(
      drawn_, [&](const Model& model) -> std::vector<Tensor> { return {logits_of(model, x, batch())}; })[0];
}

Tensor Oracle::exact_logits(const Tensor& x) const {
  const MathScope exact(Math::fp32);
  return logits(x);
}

/// The rows whose goal is reached, if the arithmetic is not the judge's. None where not this oracle decides:
/// nothing stops there.
std::vector<int64_t> Oracle::doubtful(const Goal& goal, const Tensor& logits) const {
  std::vector<int64_t> rows;
  if (math_mode() == Math::fp32 || !decides()) return rows;
  const std::vector<int64_t> seen = predictions_of(logits);
  for (int64_t i = 0; i < std::ssize(seen); ++i)
    if (goal.reached(i, seen[static_cast<size_t>(i)])) rows.push_back(i);
  return rows;
}

void Oracle::confirm(const Tensor& x, const Goal& goal, Tensor& logits) const {
  const std::vector<int64_t> rows = doubtful(goal, logits);
  if (!rows.empty()) scatter(logits, rows, exact_logits(gather(x, rows)));
}

void Oracle::confirm(const Tensor& x, const Goal& goal, const Loss& loss, LossGradient& pass) const {
  const std::vector<int64_t> rows = doubtful(goal, pass.logits);
  if (rows.empty()) return;
  const Tensor exact = exact_logits(gather(x, rows));
  scatter(pass.logits, rows, exact);
  scatter(pass.value, rows, objective(exact, goal.rows(rows), loss));
}

std::vector<int64_t> Oracle::predict(const Tensor& x) const {
  return votes_ ? majority(votes(x), model_.classes()) : predictions_of(logits(x));
}

std::vector<std::vector<int64_t>> Oracle::votes(const Tensor& x) const {
  check_stop();
  std::vector<std::vector<int64_t>> all;
  for (const Model* model : drawn_) all.push_back(predictions_of(logits_of(*model, x, batch())));
  return all;
}

LossGradient Oracle::gradient(const Tensor& x, const Tensor& labels, const Loss& loss) const {
  const Tensor known = settled(labels, x);
  const auto value_of = [&](const auto& logits, const Tensor& own, int64_t begin, int64_t end) {
    return loss_of(logits, labels_or_predictions(rows_of(known, begin, end), own), loss);
  };
  LossGradient pass = differentiate(x, value_of);
  if (behind_) pass.gradient = behind_->gradient(x, known, loss).gradient;
  return pass;
}

LossGradient Oracle::ascent(const Tensor& x, const Goal& goal, const Loss& loss) const {
  const Goal known{settled(goal.labels, x), goal.targets};
  const auto value_of = [&](const auto& logits, const Tensor& own, int64_t begin, int64_t end) {
    const Goal part{labels_or_predictions(rows_of(known.labels, begin, end), own),
                    rows_of(known.targets, begin, end)};
    return objective_of(logits, part, loss);
  };
  LossGradient pass = differentiate(x, value_of);
  if (behind_) pass.gradient = behind_->ascent(x, known, loss).gradient;
  return pass;
}

/// Means of logits, values and gradients, the last left out behind a surrogate. value_of(logits, own, begin,
/// end) takes logits as Tensor or Variable, and again as numbers.
template <class F>
LossGradient Oracle::differentiate(const Tensor& x, const F& value_of) const {
  check_stop();
  const std::vector<Tensor> mean = mean_over(drawn_, [&](const Model& model) -> std::vector<Tensor> {
    if (behind_) {
      const Tensor seen = logits_of(model, x, batch());
      return {seen, value_of(seen, seen, 0, x.size(0))};
    }
    const Pass pass{.stand_ins = options_.stand_ins};
    return differentiate_one(model, x, batch(), pass,
                             [&](const Variable& logits, int64_t begin, int64_t end) {
                               return value_of(logits, logits.value(), begin, end);
                             });
  });
  return {mean[0], mean[1], behind_ ? Tensor() : mean[2]};
}

LossGradient Oracle::height(const Tensor& x, const Goal& goal, const Loss& loss) const {
  const Tensor z = logits(x);
  return {z, objective(z, goal, loss), {}};
}

Tensor Oracle::objective(const Tensor& logits, const Goal& goal, const Loss& loss) {
  return objective_of(logits, {labels_or_predictions(goal.labels, logits), goal.targets}, loss);
}

Tensor Oracle::shown(const Tensor& logits, Outputs of) {
  return of == Outputs::probs ? softmax(logits) : logits;
}

/// cotangents_of(logits [B,K], begin) makes the cotangents [M,B,K] of rows [begin, begin + B).
template <class F>
std::pair<Tensor, Tensor> Oracle::stacked_vjp(const Tensor& x, int64_t copies, Outputs of,
                                              const F& cotangents_of) const {
  check_stop();
  const int64_t n = x.size(0), rows = stacked_rows(copies);
  Tensor logits = Tensor::empty({n, model_.classes()}, x.dtype(), x.device());
  Tensor products = Tensor::empty(x.shape().with(0, copies), x.dtype(), x.device());
  for (int64_t begin = 0; begin < n; begin += rows) {
    const int64_t end = std::min(n, begin + rows);
    const Variable image = Variable::leaf(x.slice(0, begin, end).to(model_.device()));  // [B,C,H,W]
    const Variable z = answer(image);                                                   // [B,K]
    const Variable outputs = of == Outputs::probs ? softmax(z) : z;
    put(logits, begin, z.value());
    const Tensor cotangents = cotangents_of(logits.slice(0, begin, end), begin);  // [M,B,K]
    products.slice(1, begin, end).copy_from(hashgrad::vjp(outputs, {image}, cotangents)[0]);
  }
  return {logits, products};
}

std::pair<Tensor, Tensor> Oracle::vjp(const Tensor& x, const Tensor& cotangents, Outputs of) const {
  if (behind_) return {logits(x), behind_->vjp(x, cotangents, of).second};
  const int64_t n = x.size(0), copies = cotangents.size(0);
  check(cotangents.shape() == Shape({copies, n, model_.classes()}) && copies >= 1,
        "vjp: cotangents of shape {} for {} rows of {} classes", cotangents.shape(), n, model_.classes());
  return stacked_vjp(x, copies, of, [&](const Tensor& logits, int64_t begin) {
    return cotangents.slice(1, begin, begin + logits.size(0)).contiguous();
  });
}

std::pair<Tensor, Tensor> Oracle::vjp(const Tensor& x, int64_t copies, const Choose& choose) const {
  if (behind_) {
    const Tensor seen = logits(x);
    return {seen, behind_->vjp(x, choose(seen, 0), Outputs::logits).second};
  }
  return stacked_vjp(x, copies, Outputs::logits, [&](const Tensor& logits, int64_t begin) {
    return choose(logits.to(Device{}).contiguous(), begin);
  });
}

Tensor Oracle::jacobian(const Tensor& x, Outputs of) const {
  const int64_t n = x.size(0), k = model_.classes();
  Tensor result = Tensor::empty(x.shape().with(1, k), x.dtype(), x.device());  // [N,K,C,H,W]
  const int64_t rows = std::clamp<int64_t>(most_stacked_rows / k, 1, batch());
  for (int64_t begin = 0; begin < n; begin += rows) {
    const int64_t end = std::min(n, begin + rows);
    Tensor one_hot = Tensor::zeros({k, end - begin, k}, x.dtype());
    for (int64_t c = 0; c < k; ++c) one_hot.slice(0, c, c + 1).slice(2, c, c + 1).fill(1);
    const Tensor part = vjp(x.slice(0, begin, end), one_hot, of).second;  // [K,B,C,H,W]
    put(result, begin, part.transpose(0, 1));
  }
  return result;
}

Tensor input_gradient(const Model& model, const Tensor& x, const Tensor& labels, const Loss& loss,
                      int64_t batch) {
  return Oracle(model, {.batch = batch}).gradient(x, labels, loss).gradient;
}

Tensor jacobian(const Model& model, const Tensor& x, Outputs of, int64_t batch) {
  return Oracle(model, {.batch = batch}).jacobian(x, of);
}

Readings readings_of(const LossGradient& pass) {
  const Tensor& first = pass.logits.defined() ? pass.logits : pass.gradient;
  const int64_t n = first.size(0), k = pass.logits.defined() ? pass.logits.size(1) : 0;
  const int64_t columns = pass.gradient.numel() / std::max<int64_t>(n, 1);
  Tensor table = Tensor::empty({n, 4}, DType::float64, first.device());  // cpu::Reading of each row
  for_float_type(first.dtype(), "readings", [&]<class T>() {
    const Tensor logits = contiguous(pass.logits), value = contiguous(pass.value),
                 gradient = contiguous(pass.gradient);
    HASHGRAD_ON(first.device(),
                read_rows(n, k, columns, data_or_null<T>(logits), data_or_null<T>(value),
                          data_or_null<T>(gradient), reinterpret_cast<cpu::Reading*>(table.data<double>())));
  });
  Readings readings;
  const Tensor here = table.to(Device{});
  const cpu::Reading* row = reinterpret_cast<const cpu::Reading*>(here.data<double>());
  for (const cpu::Reading* end = row + n; row != end; ++row) {
    readings.predictions.push_back(static_cast<int64_t>(row->prediction));
    readings.values.push_back(row->value);
    readings.zero.push_back(row->zero != 0);
    readings.finite.push_back(row->finite != 0);
  }
  return readings;
}

}  // namespace hashgrad
