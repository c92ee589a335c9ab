#include <cmath>
#include <doctest/doctest.h>

#include "attacks/fgsm.h"
#include "attacks/statistics.h"
#include "defenses/gradient_inhibition.h"
#include "nn/model_file.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

TEST_CASE("gi1 moves every weight away from zero, keeps zeros and biases, and says so in the metadata") {
  Model model = linear_model({1, -2, 0, -1, 0.5, 0}, {0.25, -0.25});
  gradient_inhibition_1(model, 0.125);
  CHECK(model.parameter("1.weight").value().to_vector<double>() ==
        std::vector<double>{1.125, -2.125, 0, -1.125, 0.625, 0});
  CHECK(model.parameter("1.bias").value().to_vector<double>() == std::vector<double>{0.25, -0.25});
  CHECK(model.metadata.at("defences") == R"([{"eps":0.125,"layers":"last:1","method":"gi1"}])");
  gradient_inhibition_1(model, 0.5, "all");
  CHECK(model.metadata.at("defences") ==
        R"([{"eps":0.125,"layers":"last:1","method":"gi1"},{"eps":0.5,"layers":"all","method":"gi1"}])");
}

TEST_CASE("gi1 changes the layers it is asked to and no other; bucket values on hashed ones") {
  const auto changed = [](const std::string& layers) {
    Model model = small_net(DType::float32, "@1/4");
    const Model before = model.clone();
    gradient_inhibition_1(model, 0.5, layers);
    std::string names;
    const auto old = before.state();
    for (const auto& [name, tensor] : model.state())
      if (!identical(tensor, old.at(name))) names += name + " ";
    return names;
  };
  CHECK(changed("last:1") == "6.weight ");
  CHECK(changed("last:2") == "4.weight 6.weight ");
  CHECK(changed("last:3") == "0.weight 4.weight 6.weight ");
  CHECK(changed("all") == "0.weight 4.weight 6.weight ");
}

TEST_CASE("a defended model goes through a file") {
  Model model = small_net();
  gradient_inhibition_1(model, 0.5);
  const Model back = model_from_archive(archive_of(model), "memory");
  const Tensor x = images(3, model.input_shape());
  CHECK(identical(back.logits(x), model.logits(x)));
  CHECK(back.metadata.at("defences") == model.metadata.at("defences"));
}

TEST_CASE("gi1 silences the cross-entropy in float32; its exact direction breaks the model as before") {
  Model model = small_net();
  const Tensor x = images(33, model.input_shape());
  const AttackInput input{x, own_labels(model, x), {}, {}};
  const auto successes = [&](const Loss& loss) {
    const AttackResult r = Fgsm({.eps = 0.3, .loss = loss}).run(model, input);
    int64_t hits = 0;
    for (int64_t i = 0; i < 33; ++i) hits += r.success.data<uint8_t>()[i];
    return hits;
  };
  const int64_t undefended = successes("ce");
  CHECK(undefended > 16);
  gradient_inhibition_1(model, 1e4);
  const AttackInput again{x, own_labels(model, x), {}, {}};
  const Tensor gradient = input_gradient(model, x, again.y, "ce");
  CHECK(gradient_histogram(gradient).zeros > 25);
  const AttackResult masked = Fgsm({.eps = 0.3}).run(model, again);
  const AttackResult exact = Fgsm({.eps = 0.3, .loss = "ce-exact"}).run(model, again);
  int64_t masked_hits = 0, exact_hits = 0;
  for (int64_t i = 0; i < 33; ++i) {
    masked_hits += masked.success.data<uint8_t>()[i];
    exact_hits += exact.success.data<uint8_t>()[i];
    if (zero_rows(gradient)[static_cast<size_t>(i)]) CHECK(status_of(masked, i) == Status::zero_grad);
  }
  CHECK(masked_hits < 8);
  CHECK(exact_hits > 16);
}

TEST_CASE("gi1 refuses what it cannot do") {
  Model model = small_net();
  for (const double eps : {-0.1, double{NAN}, double{INFINITY}})
    CHECK(error_of([&] { gradient_inhibition_1(model, eps); }).find("gi1: eps = ") == 0);
  for (const char* layers : {"", "last", "last:", "last:0", "last:-1", "last:x", "last:1x", "first:1"})
    CHECK(error_of([&] { gradient_inhibition_1(model, 0.1, layers); }).find("expected all or last:k") !=
          std::string::npos);
  CHECK(error_of([&] { gradient_inhibition_1(model, 0.1, "last:4"); }) ==
        "gi1: layers 'last:4' of a model with 3 convolution and fully connected layers");
  CHECK(model.metadata.count("defences") == 0);
  model.metadata["defences"] = "gi1";
  CHECK(error_of([&] { gradient_inhibition_1(model, 0.1); }).find("not a JSON list") != std::string::npos);
}
