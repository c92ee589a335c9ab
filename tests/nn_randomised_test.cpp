// Networks that draw at every answer: what a draw is, and who may answer.
#include <cmath>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <tuple>

#include "attacks/pgd.h"
#include "compression/hash.h"
#include "defenses/defensive_dropout.h"
#include "defenses/gradient_inhibition.h"
#include "defenses/record.h"
#include "nn/draw_methods.h"
#include "nn/evaluate.h"
#include "nn/materialise.h"
#include "nn/model_file.h"
#include "nn/train.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

Tensor weight_of(const Model& model, const std::string& name) { return model.state().at(name); }

bool same_memory(const Model& a, const Model& b, const std::string& name) {
  return weight_of(a, name).data<float>() == weight_of(b, name).data<float>();
}

/// small_net with gi3 on its last two layers, drawn at every answer.
Model drawing_net(const std::string& rate = "") {
  Model model = small_net(DType::float32, rate);
  gradient_inhibition_3(model, 0.5, Redraw::forward, "last:2");
  return model;
}

}  // namespace

TEST_CASE("a draw of gi3 enlarges each stored weight by its own number, and nothing else") {
  Model model = linear_model({1, -2, 0, -1, 0.5, 0}, {0.25, -0.25});
  const Model plain = model.clone();
  gradient_inhibition_3(model, 0.5, Redraw::forward);
  CHECK(identical(weight_of(model, "1.weight"), weight_of(plain, "1.weight")));
  const Model drawn = realisation(model, {.seed = 3, .number = 4});
  Random random(3, Stream::defence, 4, 2);
  std::vector<double> expected;
  for (const double w : {1.0, -2.0, 0.0, -1.0, 0.5, 0.0}) {
    const double u = random.uniform();
    expected.push_back(w + 0.5 * u * ((w > 0) - (w < 0)));
  }
  CHECK(weight_of(drawn, "1.weight").to_vector<double>() == expected);
  CHECK(expected[0] > 1);
  CHECK(weight_of(drawn, "1.bias").to_vector<double>() == std::vector<double>{0.25, -0.25});
  CHECK(identical(weight_of(model, "1.weight"), weight_of(plain, "1.weight")));
  CHECK(randomised(model));
  CHECK_FALSE(randomised(drawn));
  CHECK_FALSE(randomised(plain));
}

TEST_CASE("a draw on a hashed layer is one number for each bucket") {
  const Model model = drawing_net("@1/4"), drawn = realisation(model, {.seed = 3});
  const std::vector<float> before = weight_of(model, "4.weight").to_vector<float>(),
                           after = weight_of(drawn, "4.weight").to_vector<float>();
  Random random(3, Stream::defence, 0, 8);
  int moved = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double w = static_cast<double>(before[i]), u = random.uniform();
    CHECK(after[i] == static_cast<float>(w + 0.5 * u * ((w > 0) - (w < 0))));
    moved += after[i] != before[i];
  }
  CHECK(moved > 30);
}

TEST_CASE("a draw of dropout zeroes columns and scales the others") {
  Model model = linear_model({1, -2, 3, 4, 5, 6, 7, 8, 1, 1, 1, 1}, {1, 2});
  defensive_dropout(model, 0.75);
  int64_t dropped = 0;
  for (int64_t number = 0; number < 200; ++number) {
    const std::vector<double> w =
        weight_of(realisation(model, {.number = number}), "1.weight").to_vector<double>();
    const std::vector<double> whole = weight_of(model, "1.weight").to_vector<double>();
    for (size_t j = 0; j < 6; ++j) {
      const bool zero = w[j] == 0;
      dropped += zero;
      for (const size_t i : {j, j + 6}) CHECK(w[i] == (zero ? 0 : 4 * whole[i]));
    }
  }
  CHECK(dropped > 840);  // of 1200: mean 900, standard deviation 15
  CHECK(dropped < 960);
}

TEST_CASE("draws differ by seed, stream and number, not by element type; the same one is the same") {
  const Model model = drawing_net();
  const auto drawn = [&](const Model& m, const Draw& draw) {
    return weight_of(realisation(m, draw), "6.weight");
  };
  const Tensor first = drawn(model, {});
  CHECK(identical(first, drawn(model, {})));
  for (const Draw& other : {Draw{.seed = 1}, Draw{.stream = Stream::judge}, Draw{.number = 1}})
    CHECK_FALSE(identical(first, drawn(model, other)));
  CHECK(identical(first, drawn(model.to(DType::float64), {}).to(DType::float32)));
  CHECK_ERROR(realisation(model, {.number = -1}), "realisation: draw -1 is not in");
}

TEST_CASE("a draw shares what it does not change; two defences draw apart") {
  Model model = drawing_net();
  defensive_dropout(model, 0.5);
  const Model drawn = realisation(model, {});
  for (const char* name : {"0.weight", "0.bias", "4.bias", "6.bias"}) CHECK(same_memory(model, drawn, name));
  for (const char* name : {"4.weight", "6.weight"}) CHECK_FALSE(same_memory(model, drawn, name));
  const std::vector<float> w = weight_of(drawn, "6.weight").to_vector<float>();
  CHECK(std::count(w.begin(), w.end(), 0.0F) >= 5);
  CHECK(std::count(w.begin(), w.end(), 0.0F) % 5 == 0);  // whole columns of 5 classes
  const Model twin = model.alias();
  for (const auto& [name, tensor] : model.state()) CHECK(same_memory(model, twin, name));
  CHECK(twin.metadata == model.metadata);
}

TEST_CASE("a randomised model has no answer of its own, and cannot be trained or compressed") {
  Model model = drawing_net();
  const Tensor x = images(2, model.input_shape());
  for (const auto& ask : std::vector<std::function<void()>>{
           [&] { model.logits(x); }, [&] { model.probabilities(x); },
           [&] { model.logits(Variable::leaf(x)); }, [&] { model.forward(x, {}, 0, 2); }})
    CHECK_ERROR(ask(), "model: a defence draws random numbers at every answer");
  CHECK(realisation(model, {}).logits(x).shape() == Shape{2, 5});
  const Dataset data{"some", x, classes({0, 1}), 5, {}};
  CHECK_ERROR(evaluate(model, data), "draws random numbers at every answer");
  CHECK_ERROR(train(model, data, {.epochs = 1}), "train: the model's defence draws");
  CHECK_ERROR(compress_hash(model, {}), "compress hash: the model's defence draws");
}

TEST_CASE("files, element types and copies keep the defence") {
  const Model model = drawing_net(), back = model_from_archive(archive_of(model), "f");
  CHECK(randomised(back));
  CHECK(randomised(model.clone()));
  CHECK(randomised(model.to(DType::float64)));
  const Tensor x = images(2, model.input_shape());
  CHECK(identical(realisation(back, {}).logits(x), realisation(model, {}).logits(x)));
  const Model drawn = realisation(model, {.seed = 5}), again = model_from_archive(archive_of(drawn), "f");
  CHECK_FALSE(randomised(again));
  CHECK(identical(again.logits(x), drawn.logits(x)));
}

TEST_CASE("materialise keeps draws of plain weights and refuses those of buckets") {
  Model model = small_net(DType::float32, "@1/4");
  gradient_inhibition_3(model, 0.5, Redraw::forward, "last:1");  // fc5, which is dense
  const Model dense = materialise(model);
  CHECK(randomised(dense));
  CHECK(identical(weight_of(realisation(dense, {}), "6.weight"),
                  weight_of(realisation(model, {}), "6.weight")));
  CHECK_ERROR(materialise(drawing_net("@1/4")),
              "materialise: a defence draws one number for each bucket of layer 4");
}

TEST_CASE("draws that cannot be carried out are refused when the file is read") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"([{"method":"gi2","draws":"forward","eps":1,"at":[6]}])", "says that 'gi2' draws at every answer"},
      {R"([{"method":"gi3","draws":"forward","at":[6]}])", "gives gi3 no eps in its range"},
      {R"([{"method":"gi3","draws":"forward","eps":-1,"at":[6]}])", "gives gi3 no eps in its range"},
      {R"([{"method":"dropout","draws":"forward","rate":1,"at":[6]}])", "gives dropout no rate in its range"},
      {R"([{"method":"gi3","draws":"forward","eps":1}])", "names no layers \"at\" which gi3 works"},
      {R"([{"method":"gi3","draws":"forward","eps":1,"at":[]}])", "names no layers"},
      {R"([{"method":"gi3","draws":"forward","eps":1,"at":[-1]}])", "-1 is not the number of a layer"},
      {R"([{"method":"gi3","draws":"forward","eps":1,"at":[5]}])", "names layer 5, which has no weights"},
      {R"([{"method":"gi3","draws":"forward","eps":1,"at":[9]}])", "names layer 9, which has no weights"},
      {R"([{"method":"dropout","draws":"forward","rate":0.5,"at":[0]}])", "dropout at layer 0 (conv4k3p1)"},
      {R"([{"method":"dropout","draws":"forward","rate":0.5,"at":[4]}])", "dropout at layer 4"}};
  for (const auto& [defences, phrase] : cases) {
    CAPTURE(defences);
    Archive archive = archive_of(small_net(DType::float32, "@1/4"));
    archive.metadata["defences"] = defences;
    CHECK_ERROR(model_from_archive(archive, "f"), "f: metadata defences");
    CHECK_ERROR(model_from_archive(archive, "f"), phrase);
  }
}

TEST_CASE("a method that a program adds draws, is attacked, and is kept in files") {
  add_draw_method("test-noise", {"sigma", [](double sigma) { return sigma > 0; }, false,
                                 [](Tensor& w, double sigma, Random random) {
                                   for (int64_t i = 0; i < w.numel(); ++i)
                                     w.data<float>()[i] += static_cast<float>(sigma * random.normal());
                                 }});
  Model model = small_net();
  const auto entry = [](double sigma, size_t at) {
    return nlohmann::json{{"method", "test-noise"}, {"sigma", sigma}, {"at", {at}}, {"draws", "forward"}};
  };
  record_defence(model, entry(0.5, 4));
  CHECK(randomised(model));
  CHECK(draws_at(model, 4));
  const Model one = realisation(model, {}), other = realisation(model, {.number = 1});
  CHECK(same_memory(model, one, "6.weight"));
  double squares = 0;
  for (int64_t i = 0; i < weight_of(model, "4.weight").numel(); ++i)
    squares += std::pow(static_cast<double>(weight_of(one, "4.weight").data<float>()[i]) -
                            static_cast<double>(weight_of(model, "4.weight").data<float>()[i]),
                        2);
  CHECK(squares / static_cast<double>(weight_of(model, "4.weight").numel()) ==
        doctest::Approx(0.25).epsilon(0.2));
  CHECK_FALSE(identical(weight_of(one, "4.weight"), weight_of(other, "4.weight")));
  const Tensor x = images(3, model.input_shape());
  CHECK(identical(realisation(model_from_archive(archive_of(model), "f"), {}).logits(x), one.logits(x)));
  const AttackResult r = Pgd({.eps = 0.3, .iters = 3}).run(model, {x, classes({0, 0, 0})}, {.draws = {4, 9}});
  CHECK(r.forwards.data<int64_t>()[0] % 4 == 0);

  for (const auto& [sigma, at, phrase] :
       {std::tuple{-1.0, size_t{4}, "gives test-noise no sigma in its range"},
        std::tuple{1.0, size_t{5}, "names layer 5, which has no weights"}}) {
    Model wrong = small_net();
    record_defence(wrong, entry(sigma, at));
    CHECK_ERROR(realisation(wrong, {}), phrase);
  }
  Archive silent = archive_of(small_net());
  silent.metadata["defences"] =
      R"([{"method":"test-noise","sigma":1,"at":[4]}])";  // neither drawn nor drawing
  CHECK_ERROR(model_from_archive(silent, "f"), "f: metadata defences names 'test-noise', which this version");
  CHECK_ERROR(add_draw_method("gi3", *draw_method("test-noise")), "add_draw_method: there is a method 'gi3'");
}

TEST_CASE("realisations are made once, and know their model") {
  const Model model = drawing_net(), other = model.clone();
  Realisations made(model, 7);
  const std::vector<const Model*> one = made.first(1, Stream::defence),
                                  three = made.first(3, Stream::defence);
  CHECK(one[0] == three[0]);
  CHECK(identical(weight_of(*three[2], "6.weight"),
                  weight_of(realisation(model, {7, Stream::defence, 2}), "6.weight")));
  CHECK(made.first(1, Stream::judge)[0] != one[0]);
  CHECK(made.of(model, 7));
  CHECK_FALSE(made.of(model, 8));
  CHECK_FALSE(made.of(other, 7));
}
