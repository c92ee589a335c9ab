#include "attacks/loss.h"

#include <algorithm>
#include <charconv>

#include "attacks/attack.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/pointwise.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/softmax.h"
#include "autograd/ops/view.h"

namespace hashgrad {
namespace {

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
template Tensor loss_of(const Tensor&, const Tensor&, const Loss&);
template Variable loss_of(const Variable&, const Tensor&, const Loss&);

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
template Tensor objective_of(const Tensor&, const Goal&, const Loss&);
template Variable objective_of(const Variable&, const Goal&, const Loss&);

}  // namespace hashgrad
