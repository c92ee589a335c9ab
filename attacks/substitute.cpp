#include "attacks/substitute.h"

#include "autograd/ops/loss.h"
#include "datasets/dataset.h"

namespace hashgrad {
namespace {

void check_options(const SubstituteOptions& options, int64_t seeds) {
  check(options.rounds >= 1 && options.rounds <= 20, "substitute: rounds = {}, 1 to 20 expected",
        options.rounds);
  check(options.lambda > 0 && options.lambda <= 1, "substitute: lambda = {}, a number in (0, 1] expected",
        options.lambda);
  check(options.flip >= 0, "substitute: flip = {}, 0 or more expected", options.flip);
  check(seeds >= 1, "substitute: no images to begin with");
}

Tensor labels_by(const Oracle& victim, const Tensor& x) {
  const std::vector<int64_t> labels = victim.predict(x);
  for (size_t i = 0; i < labels.size(); ++i)
    check(labels[i] >= 0, "substitute: the victim's logits of image {} are not numbers", i);
  return Tensor::of(labels, {x.size(0)});
}

/// Rows of a, then rows of b.
Tensor stacked(const Tensor& a, const Tensor& b) {
  Tensor both = Tensor::empty(a.shape().without(0).with(0, a.size(0) + b.size(0)), a.dtype());
  both.slice(0, 0, a.size(0)).copy_from(a);
  both.slice(0, a.size(0), both.size(0)).copy_from(b);
  return both;
}

}  // namespace

Tensor augment(const Model& substitute, const Tensor& x, const Tensor& labels, double step_size,
               int64_t batch) {
  const Tensor own = smoothed_one_hot(labels, substitute.classes(), 0, x.dtype());  // [N,K]
  const Tensor slope = Oracle(substitute, {.batch = batch})
                           .vjp(x, own.reshape({1, own.size(0), own.size(1)}), Outputs::probs)
                           .second;
  return clip(step(x, step_size, steepest(slope.reshape(x.shape()), Norm::linf)));
}

int64_t train_substitute(const Oracle& victim, Model& substitute, const Tensor& seeds,
                         const SubstituteOptions& options) {
  check_options(options, seeds.defined() ? seeds.size(0) : 0);
  validate(victim.model(), seeds, "substitute");
  const Model& asked = victim.model();
  check(substitute.input_shape() == asked.input_shape() && substitute.classes() == asked.classes() &&
            substitute.dtype() == asked.dtype(),
        "substitute: {} cannot stand in for {}: images, classes and element types must agree",
        short_text(substitute.spec()), short_text(asked.spec()));
  const SubstituteRounds& before = options.finished;
  Dataset known{"substitute",
                before.count > 0 ? before.images : seeds.contiguous(),
                before.count > 0 ? before.labels : labels_by(victim, seeds),
                asked.classes(),
                {}};
  for (int64_t round = before.count; round < options.rounds; ++round) {
    if (round > 0) {
      const bool back = options.flip > 0 && (round - 1) / options.flip % 2 == 1;
      const Tensor fresh = augment(substitute, known.images, known.labels,
                                   back ? -options.lambda : options.lambda, victim.batch());
      known.labels = stacked(known.labels, labels_by(victim, fresh));
      known.images = stacked(known.images, fresh);
    }
    TrainOptions training = options.training;
    training.seed += static_cast<uint64_t>(round);
    if (train(substitute, known, training).stopped) throw Stopped{};
    if (options.keep && round + 1 < options.rounds) options.keep({round + 1, known.images, known.labels});
    if (!options.progress) continue;
    const std::vector<int64_t> own = Oracle(substitute, {.batch = victim.batch()}).predict(known.images);
    int64_t agreed = 0;
    for (size_t i = 0; i < own.size(); ++i) agreed += own[i] == known.labels.data<int64_t>()[i];
    options.progress(round + 1, known.size(), agreed);
  }
  return known.size();
}

}  // namespace hashgrad
