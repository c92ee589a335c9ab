#include <doctest/doctest.h>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"
#include "datasets/synthetic_digits.h"
#include "defenses/gradient_inhibition.h"
#include "defenses/hash_classifier.h"
#include "defenses/logits_augmentation.h"
#include "nn/materialise.h"
#include "nn/model_file.h"
#include "nn/randomised.h"
#include "nn/train.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

const char* const classifier_net = "1x28x28 conv4k5s2 relu maxpool2 flatten fc64 relu fc64 relu fc10";

}  // namespace

TEST_CASE("hash classifier: the paper's rates, and what they leave") {
  const auto rates = [](const char* spec) {
    return hash_classifier_rates(Model(spec, {.init = Init::zeros}));
  };
  CHECK(rates("1x28x28 flatten fc256 relu fc256 relu fc10") == std::vector<double>{1.0 / 4096, 1.0 / 128});
  CHECK(rates("512x1x1 flatten fc4096 relu fc4096 relu fc10") ==
        std::vector<double>{1.0 / 65536, 1.0 / 2048});
  CHECK(rates("1x1x1 flatten fc1 relu fc2") == std::vector<double>{1.0 / 16, 1.0});
  const Model model = hash_classifier(Model("1x28x28 flatten fc256 relu fc256 relu fc10", {.seed = 1}), {});
  CHECK(to_string(model.spec()) == "1x28x28 flatten fc256 relu fc256@1/4096 relu fc10@1/128");
  CHECK(model.state().at("3.weight").shape() == Shape{16});
  CHECK(model.state().at("5.weight").shape() == Shape{20});
}

TEST_CASE("hash classifier: two fresh layers, the others copied; on record, and in a file") {
  const Model dense(classifier_net, {.seed = 2});
  const HashClassifier options{
      .rates = {0.125, 0.25}, .hash = {.mode = HashMode::strat, .seed = 9}, .seed = 4};
  const Model model = hash_classifier(dense, options);
  for (const char* name : {"0.weight", "0.bias", "4.weight", "4.bias"})
    CHECK(identical(model.state().at(name), dense.state().at(name)));
  CHECK_FALSE(identical(model.state().at("6.bias"), dense.state().at("6.bias")));
  CHECK(model.hash().seed == 9);
  CHECK(model.metadata.at("defences") ==
        R"([{"layers":"last:2","method":"hash-classifier","rates":[0.125,0.25]}])");
  CHECK(dense.metadata.count("defences") == 0);
  const Model back = model_from_archive(archive_of(model), "memory");
  const Tensor x = images(3, model.input_shape());
  CHECK(identical(back.logits(x), model.logits(x)));
  CHECK_FALSE(randomised(back));
  CHECK_ERROR(hash_classifier(model, {}), "hash-classifier: the model has this defence already");
}

TEST_CASE("hash classifier: gradient inhibition of its bucket values is that of its virtual weights") {
  const Model hashed = hash_classifier(Model(classifier_net, {.dtype = DType::float64, .seed = 2}), {});
  const Model plain = materialise(hashed);
  const auto same_virtual = [](const Model& a, const Model& twin) {
    const Model b = materialise(a);
    for (const char* name : {"4.weight", "6.weight", "8.weight"})
      CHECK(identical(b.state().at(name), twin.state().at(name)));
  };
  Model one = hashed.clone(), one_twin = plain.clone(), two = hashed.clone(), two_twin = plain.clone();
  gradient_inhibition_1(one, 0.1, "last:3");
  gradient_inhibition_1(one_twin, 0.1, "last:3");
  same_virtual(one, one_twin);
  gradient_inhibition_2(two, 3, "last:3");
  gradient_inhibition_2(two_twin, 3, "last:3");
  same_virtual(two, two_twin);
  Model three = hashed.clone();
  gradient_inhibition_3(three, 0.2, Redraw::forward, "last:3");
  CHECK(randomised(three));
  const Model draw = realisation(three, {.seed = 1});
  for (const char* name : {"4.weight", "6.weight", "8.weight"}) {
    const Tensor before = hashed.state().at(name);
    const std::vector<double> w = before.to_vector<double>(),
                              moved = draw.state().at(name).to_vector<double>();
    bool differ = false;
    for (size_t i = 0; i < w.size(); ++i) {
      const double u = (moved[i] - w[i]) / (w[i] < 0 ? -0.2 : 0.2);  // drawn for each bucket
      CHECK((u >= 0 && u < 1));
      differ = differ || moved[i] != w[i];
    }
    CHECK(differ);
  }
  for (Model* m : {&one, &two, &three}) {
    const Model back = model_from_archive(archive_of(*m), "memory");
    CHECK(back.metadata.at("defences") == m->metadata.at("defences"));
  }
}

TEST_CASE("hash classifier: it learns by mean gradients at the rate of the dense network") {
  const Dataset data = synthetic_digits(Split::train, 1000, 1);
  TrainOptions options{.epochs = 5, .batch = 20, .lr = 0.05, .schedule = Schedule("cosine")};
  Model model(classifier_net, {.seed = 2});
  train(model, data, options);
  Model defended = hash_classifier(model, {});
  options.epochs = 3;
  options.hashed_gradient = HashedGradient::mean;
  CHECK(train(defended, data, options).accuracy > 0.8);
}

TEST_CASE("hash classifier: defences in the weights that it would draw afresh are not lost in silence") {
  Model inhibited(classifier_net), scaled(classifier_net), drawn(classifier_net), larger(classifier_net);
  gradient_inhibition_1(inhibited, 0.1);
  gradient_inhibition_2(scaled, 0.1);
  gradient_inhibition_3(drawn, 0.1, Redraw::once);
  logits_augmentation(larger, 20);
  CHECK_ERROR(hash_classifier(scaled, {}), "the model has gi2 in weights that would be");
  CHECK_ERROR(hash_classifier(drawn, {}), "the model has gi3 in weights that would be");
  CHECK_ERROR(hash_classifier(inhibited, {}), "hash-classifier: the model has gi1 in weights that would be");
  CHECK_ERROR(hash_classifier(larger, {}), "the model has logits-augmentation in weights that would be");
}

TEST_CASE("hash classifier refuses what has no two fully connected layers, and rates out of range") {
  CHECK_ERROR(hash_classifier(Model("1x8x8 conv4k3 relu flatten fc10"), {}),
              "hash-classifier: layer 0 (conv4k3) is not fully connected");
  CHECK_ERROR(hash_classifier(Model("1x2x2 flatten fc3"), {}),
              "hash-classifier: layers 'last:2' of a model with 1 convolution and fully connected layers");
  for (const double rate : {0.0, -1.0, 1.5})
    CHECK_ERROR(hash_classifier(small_net(), {.rates = {rate, 0.5}}), "compress hash: rate ");
  const Model dense(classifier_net);
  CHECK_ERROR(hash_classifier(dense, {.rates = {0.5}}),
              "compress hash: 1 rates for the 2 layers of 'last:2'");
  CHECK_ERROR(hash_classifier(Model("1x2x2 flatten fc3 relu fc3@1/2"), {}),
              "compress hash: layer 3 (fc3@1/2) is hashed already");
}
