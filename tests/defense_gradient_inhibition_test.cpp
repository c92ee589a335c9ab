#include <cmath>
#include <doctest/doctest.h>

#include "attacks/fgsm.h"
#include "attacks/statistics.h"
#include "autograd/ops/arithmetic.h"
#include "defenses/defensive_dropout.h"
#include "defenses/gradient_inhibition.h"
#include "defenses/logits_augmentation.h"
#include "nn/model_file.h"
#include "nn/randomised.h"
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
}

TEST_CASE("gi2 scales weights, not biases; bucket values on hashed layers") {
  Model model = linear_model({1, -2, 0, -1, 0.5, 0}, {0.25, -0.25});
  gradient_inhibition_2(model, 3);
  CHECK(model.parameter("1.weight").value().to_vector<double>() == std::vector<double>{4, -8, 0, -4, 2, 0});
  CHECK(model.parameter("1.bias").value().to_vector<double>() == std::vector<double>{0.25, -0.25});
  CHECK(model.metadata.at("defences") == R"([{"eps":3.0,"layers":"last:1","method":"gi2"}])");
  Model hashed = small_net(DType::float32, "@1/4");
  const Model before = hashed.clone();
  gradient_inhibition_2(hashed, 3, "last:2");
  for (const char* name : {"0.weight", "4.weight", "6.weight", "4.bias"}) {
    const bool chosen = name[0] != '0' && name[2] == 'w';
    CHECK(identical(hashed.state().at(name), before.state().at(name) * (chosen ? 4.0 : 1.0)));
  }
}

TEST_CASE("gi3 drawn once is a draw that stays") {
  Model model = small_net(), forward = model.clone();
  const Model plain = model.clone();
  gradient_inhibition_3(model, 0.5, Redraw::once, "last:2", 9);
  gradient_inhibition_3(forward, 0.5, Redraw::forward, "last:2");
  CHECK_FALSE(randomised(model));
  CHECK(randomised(forward));
  const Model draw = realisation(forward, {.seed = 9});
  for (const auto& [name, tensor] : model.state()) CHECK(identical(tensor, draw.state().at(name)));
  CHECK_FALSE(identical(model.state().at("6.weight"), plain.state().at("6.weight")));
  CHECK(identical(model.state().at("0.weight"), plain.state().at("0.weight")));
  const Model back = model_from_archive(archive_of(model), "memory");
  const Tensor x = images(3, model.input_shape());
  CHECK(identical(back.logits(x), model.logits(x)));
}

TEST_CASE("no defence is applied twice, and none changes weights that another draws of") {
  using Apply = void (*)(Model&);
  const std::vector<std::pair<std::string, Apply>> defences = {
      {"gi1", [](Model& m) { gradient_inhibition_1(m, 0.1); }},
      {"gi2", [](Model& m) { gradient_inhibition_2(m, 0.1); }},
      {"gi3", [](Model& m) { gradient_inhibition_3(m, 0.1, Redraw::once); }},
      {"logits-augmentation", [](Model& m) { logits_augmentation(m, 0.1); }}};
  for (const auto& [name, apply] : defences) {
    Model model = small_net();
    apply(model);
    CHECK_ERROR(apply(model), name + ": the model has this defence already");
    Model drawing = small_net();
    defensive_dropout(drawing, 0.5);
    CHECK_ERROR(apply(drawing), name + ": changes weights of which another defence draws");
  }
  Model drawing = small_net();
  gradient_inhibition_3(drawing, 0.1, Redraw::forward);
  defensive_dropout(drawing, 0.5);
  CHECK_ERROR(defensive_dropout(drawing, 0.5), "dropout: the model has this defence already");
  CHECK_ERROR(gradient_inhibition_3(drawing, 0.1, Redraw::forward),
              "gi3: the model has this defence already");
}

TEST_CASE("logits augmentation scales the weights of the last fully connected layer") {
  Model model("1x1x4 flatten fc3 relu fc2 bn", {.dtype = DType::float64, .seed = 3});
  const Model before = model.clone();
  logits_augmentation(model, 20);
  for (const auto& [name, tensor] : model.state())
    CHECK(identical(tensor, name == "3.weight" ? before.state().at(name) * 21.0 : before.state().at(name)));
  CHECK(model.metadata.at("defences") == R"([{"eps":20.0,"method":"logits-augmentation"}])");
  Model convolutions("1x4x4 conv2k4 flatten");
  CHECK_ERROR(logits_augmentation(convolutions, 1),
              "logits-augmentation: the model has no fully connected layer");
}

TEST_CASE("dropout refuses layers of which no columns can be dropped, and rates outside (0,1)") {
  Model plain = small_net(), hashed = small_net(DType::float32, "@1/4");
  for (const double rate : {0.0, 1.0, -0.5, 1.5, double{NAN}})
    CHECK_ERROR(defensive_dropout(plain, rate), "dropout: rate = ");
  CHECK_ERROR(defensive_dropout(plain, 0.5, "all"), "dropout: layer 0 (conv4k3p1) is not fully connected");
  CHECK_ERROR(defensive_dropout(hashed, 0.5, "last:2"), "dropout: layer 4 (fc17@1/4) is hashed");
  CHECK(plain.metadata.count("defences") == 0);
  CHECK(hashed.metadata.count("defences") == 0);
  defensive_dropout(plain, 0.5, "last:2");
  CHECK(plain.metadata.at("defences") ==
        R"([{"at":[4,6],"draws":"forward","layers":"last:2","method":"dropout","rate":0.5}])");
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

TEST_CASE("gradient inhibition refuses what it cannot do") {
  Model model = small_net();
  for (const double eps : {-0.1, double{NAN}, double{INFINITY}}) {
    CHECK_ERROR(gradient_inhibition_1(model, eps), "gi1: eps = ");
    CHECK_ERROR(gradient_inhibition_2(model, eps), "gi2: eps = ");
    CHECK_ERROR(gradient_inhibition_3(model, eps, Redraw::forward), "gi3: eps = ");
    CHECK_ERROR(logits_augmentation(model, eps), "logits-augmentation: eps = ");
  }
  for (const char* layers : {"", "last", "last:", "last:0", "last:-1", "last:x", "last:1x", "first:1"})
    CHECK(error_of([&] { gradient_inhibition_1(model, 0.1, layers); }).find("expected all or last:k") !=
          std::string::npos);
  CHECK(error_of([&] { gradient_inhibition_1(model, 0.1, "last:4"); }) ==
        "gi1: layers 'last:4' of a model with 3 convolution and fully connected layers");
  CHECK(model.metadata.count("defences") == 0);
  model.metadata["defences"] = "\"gi1\"";
  CHECK(error_of([&] { gradient_inhibition_1(model, 0.1); }).find("not a JSON list") != std::string::npos);
}
