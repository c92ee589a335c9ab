// The study of Liu and Wen: its protocols go with the paper's rows, and its cells are what they say.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/registry.h"
#include "compression/layers.h"
#include "experiments/liu2021/networks.h"
#include "experiments/liu2021/tables.h"
#include "nn/models/zoo.h"
#include "tests/error_of.h"
#include "tests/study_testing.h"

namespace hashgrad {
namespace {

using liu2021::Protocol;
using study::Scale;

/// Of a network with one fully connected layer, which becomes two hashed ones; training moves no weight.
Protocol small_liu() {
  Protocol p = liu2021::protocol_of("imagenet50", Scale::smoke);
  const std::string body = "1x28x28 conv3k5s3:c relu flatten";
  p.network = body + " fc10:fc";
  p.hashed = body + " fc16@1/8:fc.0 relu fc10@1/4:fc.2";
  p.train_images = 100;
  p.epochs = p.hash_epochs = 1;
  p.lr = 1e-30;
  p.init = "he-normal";  // the hashed network starts from another law
  return p;
}

/// The protocols of every data set at a scale, those of residual networks included.
std::vector<Protocol> all_protocols(Scale scale) {
  std::vector<Protocol> all;
  for (const std::string& data : liu2021::data_names()) {
    all.push_back(liu2021::protocol_of(data, scale));
    const std::vector<Protocol> residual = all.back().residual;
    all.insert(all.end(), residual.begin(), residual.end());
  }
  return all;
}

std::string inhibited(const std::string& spec, bool convolution) {
  return liu2021::inhibited_layers(spec_of(spec), convolution);
}

/// Mean length of the gradient of z1 - z2 by central differences, over the grid of 41x41 points.
double slope_by_differences(const Model& model) {
  const Model exact = model.to(DType::float64);
  const double h = 1e-6;
  const auto height = [&](double x1, double x2) {
    const Tensor z = exact.logits(Tensor::of(std::vector<double>{x1, x2}, {1, 1, 1, 2}));
    return z.data<double>()[0] - z.data<double>()[1];
  };
  double sum = 0;
  for (int i = 0; i <= 40; ++i)
    for (int j = 0; j <= 40; ++j) {
      const double x1 = i / 40.0, x2 = j / 40.0;
      sum += std::hypot(height(x1 + h, x2) - height(x1 - h, x2), height(x1, x2 + h) - height(x1, x2 - h)) /
             (2 * h);
    }
  return sum / (41 * 41);
}

}  // namespace

TEST_CASE("liu2021: every protocol has the paper's columns, and attacks that can be made") {
  for (const Scale scale : {Scale::smoke, Scale::reduced, Scale::full}) {
    const std::vector<Protocol> all = all_protocols(scale);
    CHECK(all.size() == 6);
    for (const Protocol& p : all) {
      INFO(p.title, " ", p.label);
      const std::vector<liu2021::Column> columns = published(p);
      for (const liu2021::PaperRow& row : p.paper->white_box) {
        CHECK(row.success.size() == columns.size());
        CHECK_NOTHROW(liu2021::defended_as(row.network));
      }
      for (const liu2021::Column& column : columns) CHECK_NOTHROW(make_attack(column.attempt.attack));
      CHECK(make_attack(columns[0].attempt.attack)->threat()->eps == p.eps);
      if (!p.hashed.empty()) CHECK_NOTHROW(spec_of(p.hashed));
    }
  }
  CHECK(liu2021::mnist_numbers.row("hash+GI3").average() == doctest::Approx(14.39).epsilon(1e-3));
  CHECK_ERROR(liu2021::resnet34_numbers.row("GI1"), "no row 'GI1'");
  CHECK_ERROR(liu2021::protocol_of("svhn", Scale::smoke), "mnist, cifar10, imagenet50");
}

TEST_CASE("liu2021: inhibition takes three fully connected layers, or these and a convolution") {
  CHECK(inhibited("liu2021-mnist", true) == "last:3");
  CHECK(inhibited("liu2021-mnist", false) == "last:3");
  CHECK(inhibited("resnet34(fc=512@1/8192,rate=1/256)", true) == "last:3");
  CHECK(inhibited("resnet34(fc=512@1/8192,rate=1/256)", false) == "last:2");
  CHECK(inhibited("inception-v3(classes=50)", true) == "last:2");
  CHECK(inhibited("inception-v3(classes=50)", false) == "last:1");
}

TEST_CASE("liu2021: hashed layers grow on the trained body, and targets are the next class") {
  const testing::TempDir folder;
  const study::PaperFlags flags = testing::flags_in(folder);
  study::Study cells(flags.study());
  liu2021::Laboratory lab(flags, small_liu(), cells);
  const liu2021::Attempt attempt{"bim:eps=0.3,step=0.05,iters=10", 8, 20, true};
  const liu2021::Attempt on_nothing{"cw-l2", 3, 20, true, "", 1, false, 0.1, small_liu().test_images};
  CHECK(lab.attack("original", attempt) == nullptr);
  CHECK(lab.attack("original", on_nothing) == nullptr);
  CHECK(lab.accuracy("hash+GI3") == nullptr);
  CHECK(lab.answers_by_draw("hash+GI3"));
  CHECK_FALSE(lab.answers_by_draw("mean of hash+GI3"));
  cells.run(1e9);

  const auto original = cells.network("original").state(), hash = cells.network("hash").state();
  CHECK(identical(original.at("c.weight"), hash.at("c.weight")));
  CHECK(hash.at("fc.0.weight").numel() == 3 * 64 * 16 / 8);
  CHECK(lab.hash_rates().second == 0.25);
  CHECK(lab.inhibited("hash") == "conv3k5s3:c fc16@1/8:fc.0 fc10@1/4:fc.2");
  CHECK(lab.accuracy("hash+GI3")->at("accuracy").at("n") == 100);

  const Dataset test = study::first("synthetic-digits", Split::test, 200, flags);
  const Model& model = cells.network("original");
  const std::vector<int64_t> answers = Oracle(model).predict(test.images_float(0, 200));
  std::vector<int64_t> right, next;
  for (int64_t i = 0; i < 200 && right.size() < 8; ++i) {
    const int64_t label = test.labels.data<int64_t>()[i];
    if (answers[static_cast<size_t>(i)] != label) continue;
    right.push_back(i);
    next.push_back((label + 1) % 10);
  }
  const Dataset chosen = test.select(right);
  const AttackResult by_hand =
      make_attack(attempt.attack)
          ->run(model, {chosen.images_float(0, 8), chosen.labels, Tensor::of(next, {8}), right});
  const auto reached = by_hand.success.to_vector<uint8_t>();
  const Rate success = study::rate_from(lab.attack("original", attempt)->at("success"));
  CHECK(success.trials == 8);
  CHECK_FALSE(liu2021::percent_of(lab.attack("original", on_nothing)));
  CHECK(liu2021::short_percent(lab.attack("original", on_nothing)) == "-");
  CHECK(success.hits == std::count(reached.begin(), reached.end(), 1));
  double relative = 0;
  for (int64_t i = 0; i < 8; ++i) {
    double square = 0;
    for (const float pixel : chosen.images_float(i, i + 1).to_vector<float>())
      square += double{pixel} * pixel;
    if (reached[static_cast<size_t>(i)]) relative += by_hand.l2.data<double>()[i] / std::sqrt(square);
  }
  REQUIRE(success.hits > 0);
  CHECK(lab.attack("original", attempt)->at("relative_l2").get<double>() ==
        doctest::Approx(relative / static_cast<double>(success.hits)).epsilon(1e-5));
}

TEST_CASE("liu2021: a substitute is the same network in every element type that it is attacked in") {
  std::vector<Tensor> weights;
  for (const char* dtype : {"float32", "float64"}) {
    const testing::TempDir folder;
    study::PaperFlags flags = testing::flags_in(folder);
    flags.common.dtype = dtype;
    Protocol p = liu2021::protocol_of("mnist", Scale::smoke);
    p.train_images = 100;
    p.epochs = 1;
    study::Study cells(flags.study());
    liu2021::Laboratory lab(flags, p, cells);
    const std::string substitute = liu2021::substitute_of("original");
    const liu2021::Attempt attempt{
        .attack = "fgsm:eps=0.1", .images = 5, .passes = 2, .crafted_on = substitute, .skip = p.seeds};
    lab.attack("original", attempt);
    cells.run(1e9);
    CHECK(lab.attack("original", attempt) != nullptr);
    weights.push_back(cells.network(substitute).state().begin()->second);
  }
  CHECK(identical(weights[0], weights[1]));
}

TEST_CASE("liu2021: every residual network is measured on networks of its own") {
  const testing::TempDir folder;
  const study::PaperFlags flags = testing::flags_in(folder);
  study::Study cells(flags.study());
  liu2021::Laboratory lab(flags, liu2021::protocol_of("cifar10", Scale::smoke), cells);
  const liu2021::Part accuracy = residual_accuracy(lab);
  CHECK(cells.declared() == 6);
  CHECK(accuracy.tables[0].rows[2][0] == "ResNet-50 original");
  CHECK(accuracy.tables[0].rows[3][2] == "91.7");
  CHECK(cells.settings_of("ResNet-50 original").at("network") == lab.protocol.residual[1].network);
  const liu2021::Part attacks = residual_white_box(lab);
  const int64_t each = (cells.declared() - 6) / 3;
  CHECK(cells.declared() == 6 + 3 * each);
  CHECK(each > 20);  // six attacks and five adaptive ones, of two networks
  CHECK(attacks.tables[0].rows[8] == std::vector<std::string>{"ResNet-101 original", "ours", "not run",
                                                              "not run", "not run", "not run", "not run",
                                                              "not run", "not run"});
}

TEST_CASE("liu2021: the slope of a decision surface is that of its differences") {
  const testing::TempDir folder;
  const study::PaperFlags flags = testing::flags_in(folder);
  study::Study cells(flags.study());
  Protocol p = small_liu();
  p.surface_points = 128;
  p.surface_epochs = 4;
  liu2021::Laboratory lab(flags, p, cells);
  CHECK(decision_surface(lab).findings == std::vector<std::string>{"B-F1: not measured."});
  cells.run(1e9);
  const liu2021::Part part = decision_surface(lab);
  CHECK(part.plots.size() == 2);
  CHECK(part.findings.size() == 3);
  double slope = 0;
  for (int seed = 0; seed < 10; ++seed)
    slope += slope_by_differences(cells.network(fmt::format("AND hashed, seed {}", seed))) / 10;
  const std::string& shown = part.tables[0].rows.at(1).at(3);  // "0.123 [0.1, 0.2]"
  CHECK(std::stod(shown) == doctest::Approx(slope).epsilon(0.02));
  const Spec hashed = cells.network("AND hashed, seed 3").spec();
  CHECK(std::all_of(hashed.layers.begin(), hashed.layers.end(),
                    [](const LayerSpec& l) { return !l.has_weight() || l.rate == 0.2; }));
}

}  // namespace hashgrad
