#include "attacks/gradient.h"

#include <algorithm>
#include <charconv>

#include "attacks/attack.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/pointwise.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/softmax.h"
#include "autograd/ops/view.h"
#include "cuda/attack_step.h"

namespace hashgrad {
namespace {

/// Most rows that one stacked backward pass carries; bounds memory, not results.
constexpr int64_t most_stacked_rows = 640;

constexpr std::pair<Loss::Kind, const char*> loss_names[] = {
    {Loss::Kind::ce, "ce"},    {Loss::Kind::ce_exact, "ce-exact"},     {Loss::Kind::margin, "margin"},
    {Loss::Kind::dlr, "dlr"},  {Loss::Kind::ce_sigmoid, "ce-sigmoid"}, {Loss::Kind::logit, "logit"},
    {Loss::Kind::prob, "prob"}};

bool has_output(Loss::Kind kind) { return kind == Loss::Kind::logit || kind == Loss::Kind::prob; }

template <TensorLike X>
X column(const X& z, int64_t k) {
  check(k < z.size(1), "loss: class {} of a model with {} classes", k, z.size(1));
  return reshape(slice(z, 1, k, k + 1), Shape{z.size(0)});
}

template <TensorLike X>
X loss_of(const X& logits, const Tensor& labels, const Loss& loss) {
  switch (loss.kind()) {
    case Loss::Kind::ce:
      return cross_entropy(logits, labels);
    case Loss::Kind::ce_exact:
      return exact_cross_entropy(logits, labels);
    case Loss::Kind::margin:
      return margin_loss(logits, labels);
    case Loss::Kind::dlr:
      return dlr_loss(logits, labels);
    case Loss::Kind::ce_sigmoid:
      return sum(X(smoothed_one_hot(labels, logits.size(1), 0, logits.dtype(), logits.device())) *
                     softplus(neg(logits)),
                 1);
    case Loss::Kind::logit:
      return column(logits, loss.output());
    case Loss::Kind::prob:
      break;
  }
  return column(softmax(logits), loss.output());
}

template <TensorLike X>
X objective_of(const X& logits, const Goal& goal, const Loss& loss) {
  check(!has_output(loss.kind()),
        "loss: {} is not a goal of an attack, ce, ce-exact, margin, dlr or ce-sigmoid is", loss.name());
  const bool margin = loss.kind() == Loss::Kind::margin;
  if (!goal.targeted())
    return margin ? neg(loss_of(logits, goal.labels, loss)) : loss_of(logits, goal.labels, loss);
  if (loss.kind() == Loss::Kind::dlr) return dlr_targeted(logits, goal.labels, goal.targets);
  return margin ? loss_of(logits, goal.targets, loss) : neg(loss_of(logits, goal.targets, loss));
}

/// `labels`, or what the logits predict (class 0 where they are not numbers).
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

/// value_of(logits, begin, end) is what each row of images [begin, end) is differentiated by.
template <class F>
LossGradient differentiate(const Oracle& oracle, const Tensor& x, const F& value_of) {
  const int64_t n = x.size(0);
  const Device device = oracle.model().device(), home = x.device();
  LossGradient result{Tensor::empty({n, oracle.model().classes()}, x.dtype(), home),
                      Tensor::empty({n}, x.dtype(), home), Tensor::empty(x.shape(), x.dtype(), home)};
  for (int64_t begin = 0; begin < n; begin += oracle.batch()) {
    const int64_t end = std::min(n, begin + oracle.batch());
    const Variable image = Variable::leaf(x.slice(0, begin, end).to(device));  // [B,C,H,W]
    const Variable logits = oracle.model().logits(image);                      // [B,K]
    const Variable value = value_of(logits, begin, end);                       // [B]
    const Tensor ones = Tensor::full({1, end - begin}, 1, x.dtype(), device);
    put(result.gradient, begin, vjp(value, {image}, ones)[0].reshape(image.shape()));
    put(result.logits, begin, logits.value());
    put(result.value, begin, value.value());
  }
  return result;
}

}  // namespace

Loss::Loss(const std::string& text) {
  const size_t colon = text.find(':');
  const auto* found = std::find_if(std::begin(loss_names), std::end(loss_names),
                                   [&](const auto& row) { return text.substr(0, colon) == row.second; });
  bool ok = found != std::end(loss_names) && has_output(found->first) == (colon != std::string::npos);
  if (ok && colon != std::string::npos) {
    const char *begin = text.data() + colon + 1, *end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(begin, end, output_);
    ok = begin != end && error == std::errc() && stop == end && output_ >= 0;
  }
  check(ok,
        "loss: '{}' is none of ce, ce-exact, margin, dlr, ce-sigmoid, logit:K, prob:K (K a class, from 0)",
        text);
  kind_ = found->first;
}

std::string Loss::name() const {
  for (const auto& [kind, text] : loss_names)
    if (kind == kind_) return has_output(kind) ? fmt::format("{}:{}", text, output_) : text;
  return {};
}

Outputs parse_outputs(const std::string& text) {
  check(text == "logits" || text == "probs", "outputs: '{}' is neither logits nor probs", text);
  return text == "logits" ? Outputs::logits : Outputs::probs;
}

const char* name_of(Outputs outputs) { return outputs == Outputs::logits ? "logits" : "probs"; }

bool Goal::reached(int64_t row, int64_t prediction) const {
  if (targeted()) return prediction == targets.data<int64_t>()[row];
  return prediction >= 0 && prediction != labels.data<int64_t>()[row];
}

Goal Goal::rows(const std::vector<int64_t>& rows) const {
  return {labels.defined() ? gather(labels, rows) : Tensor(),
          targets.defined() ? gather(targets, rows) : Tensor()};
}

Oracle::Oracle(const Model& model, const OracleOptions& options) : model_(model), options_(options) {
  check(options.batch >= 1, "attack: a batch of {} rows, at least 1 expected", options.batch);
  const Model* surrogate = options.surrogate;
  check(!surrogate ||
            (surrogate->input_shape() == model.input_shape() && surrogate->classes() == model.classes() &&
             surrogate->dtype() == model.dtype() && surrogate->device() == model.device()),
        "attack: the surrogate {} cannot stand in for {}: images, classes, element types and devices must "
        "agree",
        surrogate ? to_string(surrogate->spec()) : "", to_string(model.spec()));
}

Tensor Oracle::logits(const Tensor& x) const {
  Tensor result = Tensor::empty({x.size(0), model_.classes()}, x.dtype(), x.device());
  for (int64_t begin = 0; begin < x.size(0); begin += batch())
    put(result, begin,
        model_.logits(x.slice(0, begin, std::min(x.size(0), begin + batch())).to(model_.device())));
  return result;
}

std::vector<int64_t> Oracle::predict(const Tensor& x) const { return predictions_of(logits(x)); }

LossGradient Oracle::gradient(const Tensor& x, const Tensor& labels, const Loss& loss) const {
  if (options_.surrogate) {
    const Tensor seen = logits(x), known = labels_or_predictions(labels, seen);
    return {seen, loss_of(seen, known, loss), behind().gradient(x, known, loss).gradient};
  }
  return differentiate(*this, x, [&](const Variable& logits, int64_t begin, int64_t end) {
    return loss_of(logits, labels_or_predictions(rows_of(labels, begin, end), logits.value()), loss);
  });
}

LossGradient Oracle::ascent(const Tensor& x, const Goal& goal, const Loss& loss) const {
  if (options_.surrogate) {
    const Tensor seen = logits(x);
    const Goal known{labels_or_predictions(goal.labels, seen), goal.targets};
    return {seen, objective_of(seen, known, loss), behind().ascent(x, known, loss).gradient};
  }
  return differentiate(*this, x, [&](const Variable& logits, int64_t begin, int64_t end) {
    const Goal part{labels_or_predictions(rows_of(goal.labels, begin, end), logits.value()),
                    rows_of(goal.targets, begin, end)};
    return objective_of(logits, part, loss);
  });
}

Tensor Oracle::objective(const Tensor& logits, const Goal& goal, const Loss& loss) {
  return objective_of(logits, {labels_or_predictions(goal.labels, logits), goal.targets}, loss);
}

Tensor Oracle::shown(const Tensor& logits, Outputs of) {
  return of == Outputs::probs ? softmax(logits) : logits;
}

std::pair<Tensor, Tensor> Oracle::vjp(const Tensor& x, const Tensor& cotangents, Outputs of) const {
  if (options_.surrogate) return {logits(x), behind().vjp(x, cotangents, of).second};
  const int64_t n = x.size(0), copies = cotangents.size(0);
  check(cotangents.shape() == Shape({copies, n, model_.classes()}) && copies >= 1,
        "vjp: cotangents of shape {} for {} rows of {} classes", cotangents.shape(), n, model_.classes());
  Tensor logits = Tensor::empty({n, model_.classes()}, x.dtype(), x.device());
  Tensor products = Tensor::empty(x.shape().with(0, copies), x.dtype(), x.device());
  const int64_t rows = std::clamp<int64_t>(most_stacked_rows / copies, 1, batch());
  for (int64_t begin = 0; begin < n; begin += rows) {
    const int64_t end = std::min(n, begin + rows);
    const Variable image = Variable::leaf(x.slice(0, begin, end).to(model_.device()));  // [B,C,H,W]
    const Variable z = model_.logits(image);                                            // [B,K]
    const Variable outputs = of == Outputs::probs ? softmax(z) : z;
    const Tensor part = cotangents.slice(1, begin, end).contiguous();  // [M,B,K]
    products.slice(1, begin, end).copy_from(hashgrad::vjp(outputs, {image}, part)[0]);
    put(logits, begin, z.value());
  }
  return {logits, products};
}

std::pair<Tensor, Tensor> Oracle::vjp(const Tensor& x, int64_t copies, const Choose& choose) const {
  if (options_.surrogate) {
    const Tensor seen = logits(x);
    return {seen, behind().vjp(x, choose(seen, 0), Outputs::logits).second};
  }
  const int64_t n = x.size(0);
  Tensor logits = Tensor::empty({n, model_.classes()}, x.dtype());
  Tensor products = Tensor::empty(x.shape().with(0, copies), x.dtype());
  const int64_t rows = std::clamp<int64_t>(most_stacked_rows / copies, 1, batch());
  for (int64_t begin = 0; begin < n; begin += rows) {
    const int64_t end = std::min(n, begin + rows);
    const Variable image = Variable::leaf(x.slice(0, begin, end).to(model_.device()));  // [B,C,H,W]
    const Variable z = model_.logits(image);                                            // [B,K]
    put(logits, begin, z.value());
    const Tensor part = choose(logits.slice(0, begin, end).contiguous(), begin);  // [M,B,K]
    products.slice(1, begin, end).copy_from(hashgrad::vjp(z, {image}, part)[0]);
  }
  return {logits, products};
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

std::vector<int64_t> predictions_of(const Tensor& logits) {
  return readings_of({logits, {}, {}}).predictions;
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
