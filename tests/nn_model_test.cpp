#include <cmath>
#include <doctest/doctest.h>
#include <limits>

#include "autograd/ops/loss.h"
#include "autograd/ops/reduce.h"
#include "core/random.h"
#include "nn/model.h"
#include "nn/model_file.h"
#include "tests/error_of.h"
#include "tests/temp_dir.h"

using namespace hashgrad;

namespace {

Tensor random_images(const Shape& image, int64_t n, DType dtype = DType::float32, uint64_t seed = 1) {
  Tensor x = Tensor::empty(image.with(0, n), dtype);
  Random random(seed, Stream::test);
  for_float_type(dtype, "test", [&]<class T>() {
    for (int64_t i = 0; i < x.numel(); ++i) x.data<T>()[i] = static_cast<T>(random.uniform());
  });
  return x;
}

void set(Model& model, const std::string& name, const std::vector<float>& values) {
  Tensor& tensor = model.parameter(name).value();
  tensor.copy_from(Tensor::of(values, tensor.shape()));
}

/// A file of one producer that knows nothing but `spec` and the tensors.
Archive foreign_archive() {
  Archive archive;
  archive.metadata["spec"] = "1x1x2 flatten fc2";
  archive.tensors["1.weight"] = Tensor::of(std::vector<float>{1, 2, 3, 4}, {2, 2});
  archive.tensors["1.bias"] = Tensor::of(std::vector<float>{0.5f, -0.5f}, {2});
  return archive;
}

const char* const everything =
    "2x13x17 norm(0.1,0.2;0.5,0.25) conv3k3p1 relu maxpool2 conv5k3p1s2nb bn relu conv4k3p1@1/3 relu "
    "maxpool3s2p1 avgpool2s1 dropout0.5 flatten fc7@1/2 relu bn fc6nb relu fc5 softmax";

}  // namespace

TEST_CASE("a network computes what its layers say, by hand") {
  Model model("1x3x3 norm(1;2) conv1k2 relu maxpool2 flatten fc2");
  CHECK(model.classes() == 2);
  CHECK(model.input_shape() == Shape{1, 3, 3});
  set(model, "1.weight", {1, 0, 0, -1});
  set(model, "1.bias", {0.5f});
  set(model, "5.weight", {2, -3});
  set(model, "5.bias", {1, 0});
  const Tensor x = Tensor::of(std::vector<float>{9, 1, 1, 1, 3, 1, 1, 1, 5}, {1, 1, 3, 3});
  // (x - 1) / 2 = [4 0 0; 0 1 0; 0 0 2]; top left minus bottom right + 0.5 = [3.5 0.5; 0.5 -0.5]; the maximum
  // is 3.5.
  CHECK(model.logits(x).to_vector<float>() == std::vector<float>{8, -10.5f});
  const std::vector<float> p = model.probabilities(x).to_vector<float>();
  CHECK(p[0] + p[1] == doctest::Approx(1));
  CHECK(std::log(p[1] / p[0]) == doctest::Approx(-18.5).epsilon(1e-4));
}

TEST_CASE("parameters carry the names and shapes that PyTorch gives the same Sequential") {
  const std::map<std::string, Tensor> state = Model(everything).state();
  const std::pair<const char*, Shape> expected[] = {{"1.weight", {3, 2, 3, 3}},
                                                    {"1.bias", {3}},
                                                    {"4.weight", {5, 3, 3, 3}},
                                                    {"5.weight", {5}},
                                                    {"5.bias", {5}},
                                                    {"5.running_mean", {5}},
                                                    {"5.running_var", {5}},
                                                    {"5.num_batches_tracked", {}},
                                                    {"7.weight", {60}},
                                                    {"7.bias", {4}},
                                                    {"13.weight", {14}},
                                                    {"13.bias", {7}},
                                                    {"15.weight", {7}},
                                                    {"15.bias", {7}},
                                                    {"15.running_mean", {7}},
                                                    {"15.running_var", {7}},
                                                    {"15.num_batches_tracked", {}},
                                                    {"16.weight", {6, 7}},
                                                    {"18.weight", {5, 6}},
                                                    {"18.bias", {5}}};
  CHECK(state.size() == std::size(expected));
  for (const auto& [name, shape] : expected) {
    CAPTURE(name);
    REQUIRE(state.contains(name));
    CHECK(state.at(name).shape() == shape);
  }
}

TEST_CASE("layers that are fused give the bits of the layers one by one") {
  for (const char* spec :
       {"1x7x9 conv3k3p1 relu maxpool2 conv17k3 relu flatten fc33 relu fc3",
        "2x9x9 conv5k2s2@1/4 relu maxpool2 flatten fc9@1/3 relu fc3nb relu",
        "3x8x8 conv4k3p1nb bn relu =a conv4k3p1nb bn relu conv4k3p1nb bn +a relu =b "
        "conv6k3p1s2nb bn relu conv6k3p1nb bn =c <b conv6k1s2nb bn +c relu =d bn +d relu =e "
        "conv6k3p1 bn +d =f conv6k1 bn +e +f relu flatten fc7 bn relu fc3"}) {
    CAPTURE(spec);
    const Model model(spec);
    const size_t n = model.spec().layers.size();
    for (bool training : {false, true}) {
      const Tensor x = random_images(model.input_shape(), 3);
      std::vector<Tensor> results[2];
      for (bool fuse : {false, true}) {
        Model one = model.clone();
        const Variable input = Variable::leaf(x), y = one.forward(input, {.training = training}, 0, n, fuse);
        sum(square(y)).backward();
        results[fuse] = {one.forward(x, {}, 0, n, fuse), y.value(), input.grad()};
        for (const Parameter& p : one.parameters())
          if (training) results[fuse].push_back(p.variable->grad());
        for (const Buffer& b : one.buffers()) results[fuse].push_back(*b.tensor);
      }
      for (size_t i = 0; i < results[0].size(); ++i) CHECK(identical(results[0][i], results[1][i]));
    }
  }
}

TEST_CASE("a row's logits do not depend on the other rows of its batch") {
  const Model model(everything);
  const Tensor x = random_images(model.input_shape(), 17), all = model.logits(x);
  for (int64_t row : {0, 8, 16})
    CHECK(identical(model.logits(x.slice(0, row, row + 1).contiguous()),
                    all.slice(0, row, row + 1).contiguous()));
}

TEST_CASE("in inference the graph leads to the images alone; in training to the parameters too") {
  Model model("1x4x4 conv2k3 relu flatten dropout0.5 fc3@1/2");
  const Tensor x = random_images(model.input_shape(), 2);
  CHECK_FALSE(model.logits(Variable(x)).requires_grad());
  const Variable input = Variable::leaf(x);
  sum(model.logits(input)).backward();
  CHECK(input.grad().defined());
  for (const Parameter& p : model.parameters()) CHECK_FALSE(p.variable->grad().defined());
  const Pass training{.training = true,
                      .step = Tensor::zeros({1}, DType::int64),
                      .samples = Tensor::of<int64_t>({0, 1}, {2})};
  sum(model.logits(Variable(x), training)).backward();
  for (const Parameter& p : model.parameters()) CHECK(p.variable->grad().defined());
  model.zero_grad();
  for (const Parameter& p : model.parameters()) CHECK_FALSE(p.variable->grad().defined());
}

TEST_CASE("the initial weights are the law asked for, and a function of the seed and the layer alone") {
  const Model a("1x10x10 flatten fc1000 relu fc10", {.seed = 3}),
      b("1x10x10 flatten fc1000 bn fc10", {.seed = 3});
  CHECK(identical(a.state().at("1.weight"), b.state().at("1.weight")));
  CHECK_FALSE(identical(a.state().at("1.weight"), Model(a.spec()).state().at("1.weight")));
  const auto moments = [](Tensor t) {
    double sum = 0, squares = 0, largest = 0;
    for (float v : t.to_vector<float>()) {
      sum += v, squares += double{v} * v, largest = std::max(largest, std::abs(double{v}));
    }
    const double n = static_cast<double>(t.numel());
    return std::array{sum / n, std::sqrt(squares / n), largest};
  };
  const auto [mean, deviation, largest] = moments(a.state().at("1.weight"));
  CHECK(std::abs(mean) < 1e-3);
  CHECK(deviation == doctest::Approx(0.1 / std::sqrt(3.0)).epsilon(0.01));
  CHECK(largest <= 0.1);
  CHECK(largest > 0.0999);
  CHECK(moments(a.state().at("1.bias"))[1] == doctest::Approx(0.1 / std::sqrt(3.0)).epsilon(0.1));
  const Model he("1x10x10 flatten fc1000", {.init = Init::he_normal});
  CHECK(moments(he.state().at("1.weight"))[1] == doctest::Approx(std::sqrt(0.02)).epsilon(0.01));
  CHECK(moments(he.state().at("1.bias"))[2] == 0);
  const Model hashed("1x10x10 flatten fc1000@1/10");  // a virtual weight has the law of a dense one
  CHECK(moments(hashed.state().at("1.weight"))[1] == doctest::Approx(0.1 / std::sqrt(3.0)).epsilon(0.02));
  CHECK(parse_init(to_string(Init::xavier_uniform)) == Init::xavier_uniform);
  CHECK_ERROR(parse_init("magic"), "init: 'magic' is not known; accepted: pytorch, he-normal");
}

TEST_CASE("images of another shape or type are refused") {
  const Model model("3x4x5 flatten fc2");
  CHECK_ERROR(model.logits(Tensor::zeros({2, 3, 5, 4})), "images of shape [2,3,5,4], expected [N,3,4,5]");
  CHECK_ERROR(model.logits(Tensor::zeros({3, 4, 5})), "images of shape [3,4,5], expected [N,3,4,5]");
  CHECK_ERROR(model.logits(Tensor::zeros({2, 3, 4, 5}, DType::float64)),
              "images are float64, the model computes in float32");
  CHECK(model.logits(Tensor::zeros({0, 3, 4, 5})).shape() == Shape{0, 2});
  CHECK_ERROR(Model(model.spec(), {.dtype = DType::int64}), "float32 or float64, not in int64");
  CHECK_ERROR(Model("nonsense"), "token 1 'nonsense'");
  Model copy = model.clone();
  CHECK_ERROR(copy.parameter("0.weight"), "has no parameter '0.weight' (it has: 1.weight, 1.bias)");
}

TEST_CASE("a model is the same after its file, metadata that nobody knows included") {
  for (DType dtype : {DType::float32, DType::float64}) {
    Model model(everything, {.dtype = dtype, .seed = 5, .hash = {.seed = 99, .bias = true}});
    const Tensor x = random_images(model.input_shape(), 3, dtype);
    model.logits(Variable(x),
                 {.training = true,
                  .step = Tensor::zeros({1}, DType::int64),
                  .samples = Tensor::of<int64_t>({0, 1, 2}, {3})});  // moves the running statistics
    model.metadata["weather"] = "rain";
    const testing::TempDir folder;
    save_model(folder / "model", model);
    const Model loaded = load_model(folder / "model");
    CHECK(loaded.dtype() == dtype);
    CHECK(loaded.spec() == model.spec());
    CHECK(loaded.hash() == model.hash());
    CHECK(loaded.metadata.at("weather") == "rain");
    CHECK(*loaded.state().at("5.num_batches_tracked").data<int64_t>() == 1);
    for (const auto& [name, tensor] : model.state()) CHECK(identical(tensor, loaded.state().at(name)));
    CHECK(identical(loaded.logits(x), model.logits(x)));
  }
}

TEST_CASE("conversion keeps the function: float64 agrees with float32") {
  const Model model(everything), wide = model.to(DType::float64);
  const Tensor x = random_images(model.input_shape(), 3);
  const std::vector<double> a = model.logits(x).to(DType::float64).to_vector<double>(),
                            b = wide.logits(x.to(DType::float64)).to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-4));
}

TEST_CASE("a file with only a spec and weights loads, whoever wrote it") {
  const Model model = model_from_archive(foreign_archive(), "f");
  CHECK(model.logits(Tensor::of(std::vector<float>{1, 1}, {1, 1, 1, 2})).to_vector<float>() ==
        std::vector<float>{3.5f, 6.5f});
  Archive named = archive_of(Model("fast-at-mnist", {.init = Init::zeros}));
  named.metadata = {{"spec", "fast-at-mnist"}};
  CHECK(model_from_archive(named, "f").parameter_count() == 166406);
  Archive old = archive_of(Model("1x1x2 bn flatten fc2"));
  old.tensors.erase("0.num_batches_tracked");  // PyTorch before 0.4.1 had none
  CHECK(model_from_archive(old, "f").classes() == 2);
}

TEST_CASE("the hash of a file is its seed and mode, whatever the building options") {
  Archive archive = archive_of(Model("1x4x4 flatten fc5@1/4", {.hash = {.seed = 7}}));
  const Tensor x = random_images({1, 4, 4}, 2);
  const Tensor seven = model_from_archive(archive, "f").logits(x);
  archive.metadata["hash_seed"] = "18446744073709551615";
  CHECK_FALSE(identical(model_from_archive(archive, "f").logits(x), seven));
  archive.metadata = {{"spec", archive.metadata["spec"]}, {"hash_mode", "xxhash"}};
  CHECK(model_from_archive(archive, "f").hash() == HashOptions{HashMode::xxhash, 1691, false});
}

TEST_CASE("a damaged model file is an error that names the tensor") {
  const std::pair<std::function<void(Archive&)>, const char*> cases[] = {
      {[](Archive& a) { a.metadata.clear(); }, "f: has no 'spec' in its metadata"},
      {[](Archive& a) { a.metadata["spec"] = "1x1x2 flatten fcx"; }, "f: spec: token 3 'fcx'"},
      {[](Archive& a) { a.metadata["spec"] = "resnet"; }, "f: spec: token 1 'resnet'"},
      {[](Archive& a) { a.tensors.erase("1.bias"); }, "f: has no tensor '1.bias' (it has: 1.weight)"},
      {[](Archive& a) {
         a.tensors["1.weight"] = Tensor::zeros({2, 3});
       },
       "f: tensor '1.weight' has shape [2,3], the spec asks for [2,2]"},
      {[](Archive& a) {
         a.tensors["1.weight"] = Tensor::zeros({2, 2}, DType::int64);
       },
       "f: tensor '1.weight' holds int64, float32 is expected"},
      {[](Archive& a) { a.tensors["2.weight"] = Tensor::zeros({2}); },
       "f: tensor '2.weight' [2] has no place in '1x1x2 flatten fc2'"},
      {[](Archive& a) { a.tensors["1.bias"].data<float>()[1] = std::numeric_limits<float>::quiet_NaN(); },
       "f: tensor '1.bias': value 1 is nan"},
      {[](Archive& a) { a.tensors["1.weight"].data<float>()[3] = std::numeric_limits<float>::infinity(); },
       "f: tensor '1.weight': value 3 is inf"},
      {[](Archive& a) { a.metadata["hash_mode"] = "md5"; }, "f: metadata hash_mode is 'md5'"},
      {[](Archive& a) { a.metadata["hash_seed"] = "-1"; }, "f: metadata hash_seed is '-1'"},
      {[](Archive& a) { a.metadata["hash_seed"] = ""; }, "f: metadata hash_seed is ''"},
      {[](Archive& a) { a.metadata["hash_seed"] = "7x"; }, "f: metadata hash_seed is '7x'"},
      {[](Archive& a) { a.metadata["hash_bias"] = "yes"; }, "f: metadata hash_bias is 'yes'"},
      {[](Archive& a) { a.metadata["defences"] = R"([{"method":"gi1"},{"method":"moat"}])"; },
       "f: metadata defences names 'moat', which this version does not know (it knows: gi1, gi2, gi3, "
       "logits-augmentation, dropout, bit-depth, median, jpeg, feature-distillation, distill, "
       "adversarial-training, hash-classifier)"},
      {[](Archive& a) { a.metadata["quantisers"] = R"([{"method":"binary"}])"; },
       "f: metadata quantisers names 'binary', which this version does not know (it knows: kmeans, "
       "fixed-point)"},
      {[](Archive& a) { a.metadata["masks"] = R"([{"method":"random","parameter":"1.weight"}])"; },
       "f: metadata masks names 'random', which this version does not know (it knows: prune)"},
      {[](Archive& a) { a.metadata["defences"] = "[[["; }, "f: metadata defences is not valid JSON"},
      {[](Archive& a) { a.metadata["defences"] = "{}"; }, "f: metadata defences is not a JSON list"},
      {[](Archive& a) { a.metadata["defences"] = R"([{"method":"gi1","method":"moat"}])"; },
       "f: metadata defences names 'method' twice in one object"},
      {[](Archive& a) {  // whoever prints that needs a stack as deep
         a.metadata["quantisers"] = R"([{"method":"fixed-point","layer":)" + std::string(1'000'000, '[') +
                                    std::string(1'000'000, ']') + "}]";
       },
       "f: metadata quantisers is nested too deeply"},
      {[](Archive& a) { a.metadata["masks"] = "3"; }, "f: metadata masks is not a JSON list"},
      {[](Archive& a) { a.metadata["masks"] = R"(["m"])"; },
       "f: metadata masks has an entry that is not an object"},
  };
  for (const auto& [damage, phrase] : cases) {
    Archive archive = foreign_archive();
    damage(archive);
    CHECK_ERROR(model_from_archive(archive, "f"), phrase);
  }
  Archive defended = foreign_archive();
  defended.metadata["defences"] = R"([{"method":"gi1","eps":0.1}])";
  CHECK(model_from_archive(defended, "f").metadata.at("defences") == defended.metadata["defences"]);
  Archive statistics = archive_of(Model("1x1x2 bn flatten fc2"));
  statistics.tensors["0.running_var"].fill(0);  // of a channel that is constant
  CHECK(model_from_archive(statistics, "f").classes() == 2);
  statistics.tensors["0.running_var"].data<float>()[0] = -1;
  CHECK_ERROR(model_from_archive(statistics, "f"),
              "f: tensor '0.running_var': value 0 is -1, a variance is never negative");
  Model endless("1x1x2 flatten fc2");
  endless.parameter("1.bias").value().fill(INFINITY);
  const testing::TempDir folder;
  CHECK_ERROR(save_model(folder / "model", endless), "model: tensor '1.bias': value 0 is inf");
}
