// Input transforms, held to their definitions by hand-computed images.
#include <algorithm>
#include <array>
#include <cmath>
#include <doctest/doctest.h>
#include <numbers>

#include "attacks/autoattack.h"
#include "attacks/pgd.h"
#include "attacks/random_noise.h"
#include "autograd/ops/arithmetic.h"
#include "compression/hash.h"
#include "defenses/input_transforms.h"
#include "nn/materialise.h"
#include "nn/model_file.h"
#include "tests/attack_models.h"
#include "tests/ops_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

std::vector<double> transformed(const std::string& method, int64_t value, const std::vector<double>& pixels,
                                const Shape& shape) {
  return make_input_transform(method, value)->forward(Tensor::of(pixels, shape)).to_vector<double>();
}

/// The true gradient of sum(dy * transform(x)).
std::vector<double> slope(const std::string& method, int64_t value, const Tensor& x, const Tensor& dy,
                          bool stand_in = false) {
  const InputTransformPtr transform = make_input_transform(method, value);
  return run([&](const Variable& v) { return transform_input(v, transform, stand_in); }, x, dy)
      .gradient.to_vector<double>();
}

/// An image [1,1,8,8] of 8-bit samples that is dark on the left and light on the right of its middle.
std::vector<double> edge() {
  std::vector<double> x;
  for (int i = 0; i < 64; ++i) x.push_back((i % 8 < 4 ? 96 : 160) / 255.0);
  return x;
}

/// The rows of a block whose coefficients of the first row at frequencies 1, 3, 5, 7 are these, the others 0.
std::vector<double> rows_of(const std::array<double, 4>& coefficients) {
  std::vector<double> y;
  for (int i = 0; i < 64; ++i) {
    double s = 128;
    for (size_t k = 0; k < 4; ++k)
      s += coefficients[k] * std::sqrt(0.125) / 2 *
           std::cos((2 * (i % 8) + 1) * (2.0 * static_cast<double>(k) + 1) * std::numbers::pi / 16);
    y.push_back(std::nearbyint(s) / 255);
  }
  return y;
}

/// A transform that the library does not know.
class Inverted final : public InputTransform {
 public:
  Tensor forward(const Tensor& x) const override { return 1 - x; }
};

double farthest(const Tensor& a, const Tensor& b) { return distances(a, b).linf.to_vector<double>()[0]; }

/// Random 8-bit samples.
Tensor samples(const Shape& shape) {
  Tensor x = Tensor::empty(shape, DType::float64);
  Random random(5, Stream::test);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = random.below(256) / 255.0;
  return x;
}

}  // namespace

TEST_CASE("bit depth: the nearest level, halves to the even one, in both precisions alike") {
  CHECK(transformed("bit-depth", 1, {0, 0.25, 0.5, 0.5 + 1e-9, 1}, {1, 1, 1, 5}) ==
        std::vector<double>{0, 0, 0, 1, 1});
  CHECK(transformed("bit-depth", 2, {0.5, 1.0 / 6, 0.4, 0.84}, {1, 1, 2, 2}) ==
        std::vector<double>{2.0 / 3, 0, 1.0 / 3, 1});  // 1.5 -> 2, 0.5 -> 0
  const Tensor eight_bits = samples({2, 3, 4, 5});
  CHECK(identical(make_input_transform("bit-depth", 8)->forward(eight_bits), eight_bits));
  // 100/255 as float32, in 2^4 - 1 levels: the product is rounded once.
  const Tensor x = images(5, {3, 7, 9});
  const InputTransformPtr four = make_input_transform("bit-depth", 4);
  CHECK(identical(four->forward(x), four->forward(x.to(DType::float64)).to(DType::float32)));
}

TEST_CASE("median: upper median of the window, the image mirrored with its edge repeated") {
  const std::vector<double> x{0.1, 0.5, 0.3, 0.4, 0.2, 0.6};
  CHECK(transformed("median", 2, x, {1, 1, 2, 3}) == std::vector<double>{0.1, 0.5, 0.5, 0.4, 0.4, 0.5});
  CHECK(transformed("median", 3, x, {1, 1, 2, 3}) == std::vector<double>{0.2, 0.3, 0.3, 0.4, 0.4, 0.5});
  CHECK(transformed("median", 5, {0.7}, {1, 1, 1, 1}) == std::vector<double>{0.7});
  // Channels and images do not mix.
  std::vector<double> twice = x;
  twice.insert(twice.end(), 6, 0.9);
  for (const Shape& shape : {Shape{2, 1, 2, 3}, Shape{1, 2, 2, 3}})
    CHECK(transformed("median", 2, twice, shape) ==
          std::vector<double>{0.1, 0.5, 0.5, 0.4, 0.4, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9});
  const std::vector<double> with_nan = transformed("median", 2, {NAN, 0.5, 0.3}, {1, 1, 1, 3});
  CHECK(std::isnan(with_nan[0]));
  CHECK(std::isnan(with_nan[1]));
  CHECK(with_nan[2] == 0.5);
}

TEST_CASE("median: the gradient goes to the selected pixel, of equals to the first") {
  const Tensor x = Tensor::of<double>({0.1, 0.5, 0.3, 0.4, 0.2, 0.6}, {1, 1, 2, 3});
  const Tensor dy = Tensor::of<double>({1, 2, 4, 8, 16, 32}, {1, 1, 2, 3});
  CHECK(slope("median", 2, x, dy) == std::vector<double>{1, 38, 0, 24, 0, 0});
  CHECK(slope("median", 2, Tensor::full({1, 1, 1, 2}, 0.5, DType::float64),
              Tensor::of<double>({1, 2}, {1, 1, 1, 2})) == std::vector<double>{3, 0});
}

TEST_CASE("jpeg: coefficients in multiples of the table, by hand") {
  // A constant block is its mean: 8 (v - 128) in multiples of 32 at quality 25, of 1 at quality 100.
  for (const auto& [quality, in, out] :
       std::vector<std::array<int, 3>>{{25, 149, 148}, {25, 151, 152}, {25, 0, 0}, {100, 149, 149}})
    for (const Shape& shape : {Shape{1, 1, 8, 8}, Shape{1, 1, 3, 5}, Shape{2, 1, 17, 1}, Shape{1, 3, 9, 2}})
      CHECK(transformed("jpeg", quality, std::vector<double>(static_cast<size_t>(shape.numel()), in / 255.0),
                        shape) == std::vector<double>(static_cast<size_t>(shape.numel()), out / 255.0));
  // The edge: -231.97, 81.46, -54.43, 46.14 in multiples of 11, 16, 40, 61 at quality 50.
  CHECK(transformed("jpeg", 50, edge(), {1, 1, 8, 8}) == rows_of({-231, 80, -40, 61}));
  // Feature distillation: in multiples of 1, 1, 41, 41.
  CHECK(transformed("feature-distillation", 40, edge(), {1, 1, 8, 8}) == rows_of({-232, 81, -41, 41}));
}

TEST_CASE("jpeg: blocks stand alone, the last ones filled with the edge") {
  std::vector<double> x(72, 151 / 255.0), y(72, 152 / 255.0);
  std::fill(x.begin() + 64, x.end(), 149 / 255.0);
  std::fill(y.begin() + 64, y.end(), 148 / 255.0);
  CHECK(transformed("jpeg", 25, x, {1, 1, 9, 8}) == y);
}

TEST_CASE("jpeg: at quality 100 only rounding is lost, in grey and in colour") {
  const InputTransformPtr transform = make_input_transform("jpeg", 100);
  const Tensor grey = samples({1, 1, 21, 13}), colour = samples({1, 3, 21, 13});
  CHECK(farthest(transform->forward(grey), grey) <= 2.001 / 255);
  // Colours outside what luma and chroma of 8 bits can name move farther; these are inside.
  Tensor pale = colour.clone();
  for (int64_t i = 0; i < pale.numel(); ++i)
    pale.data<double>()[i] = std::nearbyint(100 + 0.2 * 255 * pale.data<double>()[i]) / 255;
  CHECK(farthest(transform->forward(pale), pale) <= 4.001 / 255);
  CHECK(farthest(make_input_transform("jpeg", 10)->forward(pale), pale) > 8.0 / 255);
}

TEST_CASE("steps have a gradient of exactly zero, and the stand-in is the identity") {
  const Tensor x = images(2, {3, 9, 8}, DType::float64), dy = random_tensor({2, 3, 9, 8}, 3, DType::float64);
  for (const auto& [method, value] : std::vector<std::pair<std::string, int64_t>>{
           {"bit-depth", 3}, {"jpeg", 75}, {"feature-distillation", 40}, {"median", 2}}) {
    CAPTURE(method);
    const std::vector<double> zero(static_cast<size_t>(x.numel()), 0.0);
    CHECK((slope(method, value, x, dy) == zero) == (method != "median"));
    CHECK(slope(method, value, x, dy, true) == dy.to_vector<double>());
    const InputTransformPtr transform = make_input_transform(method, value);
    check_rows_stand_alone([&](const Variable& v) { return transform_input(v, transform, false); },
                           x.to(DType::float32));
    const Variable leaf = Variable::leaf(x);
    CHECK(identical(transform_input(leaf, transform, true).value(), transform->forward(x)));
  }
}

TEST_CASE("a model with transforms is the network behind them, wherever it is copied to") {
  for (const char* rate : {"", "@1/4"}) {
    CAPTURE(rate);
    const Model plain = small_net(DType::float32, rate);
    Model model = plain.clone();
    add_input_transform(model, "bit-depth", 2);
    add_input_transform(model, "median", 3);
    CHECK(model.metadata.at("defences") ==
          R"([{"bits":2,"method":"bit-depth"},{"method":"median","size":3}])");
    const Tensor x = images(7, model.input_shape());
    const Tensor seen =
        make_input_transform("median", 3)->forward(make_input_transform("bit-depth", 2)->forward(x));
    CHECK(identical(model.logits(x), plain.logits(seen)));
    CHECK(identical(model.logits(Variable(x)).value(), plain.logits(seen)));
    CHECK_FALSE(identical(model.logits(x), plain.logits(x)));
    const Model loaded = model_from_archive(archive_of(model), "memory");
    CHECK(loaded.metadata.at("defences") == model.metadata.at("defences"));
    for (const Model& copy : {model.clone(), model_from_archive(archive_of(loaded), "again")})
      CHECK(identical(copy.logits(x), model.logits(x)));
    CHECK(difference(model.to(DType::float64).logits(x.to(DType::float64)), model.logits(x)) < 1e-4);
    CHECK(identical(materialise(model).logits(x), materialise(plain).logits(seen)));
  }
  Model dense("1x4x4 flatten fc3", {.seed = 2});
  add_input_transform(dense, "bit-depth", 1);
  const Model hashed = compress_hash(dense, {.rate = 0.5});
  CHECK(hashed.transforms().size() == 1);
}

TEST_CASE("stand-ins: gradients are those of the network, at what it sees") {
  const Model plain = small_net();
  Model model = plain.clone();
  add_input_transform(model, "bit-depth", 2);
  const Tensor x = images(5, model.input_shape()), y = own_labels(model, x),
               seen = make_input_transform("bit-depth", 2)->forward(x);
  const Oracle honest(model), past(model, {.stand_ins = true}), network(plain);
  const LossGradient g = past.gradient(x, y, "margin"), wanted = network.gradient(seen, y, "margin");
  CHECK(identical(g.gradient, wanted.gradient));
  CHECK(identical(g.logits, wanted.logits));
  const auto zeros = zero_rows(honest.gradient(x, y, "margin").gradient);
  CHECK(std::count(zeros.begin(), zeros.end(), true) == 5);
  CHECK(identical(past.jacobian(x, Outputs::probs), network.jacobian(seen, Outputs::probs)));
  const Oracle::Choose ones = [](const Tensor& z, int64_t) {
    return Tensor::full({1, z.size(0), z.size(1)}, 1);
  };
  CHECK(identical(past.vjp(x, 1, ones).second, network.vjp(seen, 1, ones).second));
  // By way of a surrogate it is the surrogate's transforms that are stood in for.
  const Oracle mixed(plain, {.surrogate = &model, .stand_ins = true});
  CHECK(identical(mixed.gradient(x, y, "margin").gradient, g.gradient));
}

TEST_CASE("stand-ins break what hides behind a transform") {
  Model model = small_net();
  add_input_transform(model, "jpeg", 50);
  const Tensor x = images(20, model.input_shape());
  const AttackInput input{x, own_labels(model, x), {}, {}};
  const auto broken = [&](bool stand_ins) {
    const AttackResult r =
        Pgd({.eps = 0.2, .iters = 20, .random_start = false}).run(model, input, {.stand_ins = stand_ins});
    int64_t hits = 0;
    for (const uint8_t success : r.success.to_vector<uint8_t>()) hits += success;
    return hits;
  };
  CHECK(broken(false) == 0);
  CHECK(broken(true) > 12);
}

TEST_CASE("a transform that no file can tell of works, and is not left out of a file") {
  Model model = small_net();
  model.add_transform(std::make_shared<Inverted>());
  const Tensor x = images(3, model.input_shape());
  CHECK(identical(model.logits(x), small_net().logits(1 - x)));
  CHECK_ERROR(archive_of(model), "input transforms: 1 in front of it, 0 in its metadata defences");
}

TEST_CASE("stand-ins are for those who differentiate: not for the judge, nor for attacks without gradients") {
  const Model plain = small_net();
  Model model = plain.clone();
  add_input_transform(model, "bit-depth", 2);
  const Tensor x = images(6, plain.input_shape());
  const AttackInput input{x, own_labels(plain, x), {}, {}};
  // Only the surrogate has a transform to stand in for.
  const AttackResult r =
      Pgd({.eps = 0.1, .iters = 2}).run(plain, input, {.surrogate = &model, .stand_ins = true});
  CHECK(r.success.size(0) == 6);
  // Square is a member, and asks for no gradients.
  const AttackResult all = AutoAttack({.eps = 0.01, .iters = 1, .queries = 2})
                               .run(model, {x, own_labels(model, x), {}, {}}, {.stand_ins = true});
  CHECK(all.success.size(0) == 6);
}

TEST_CASE("input transforms refuse what they cannot do") {
  Model model = small_net();
  CHECK_ERROR(make_input_transform("fog", 1), "'fog' is none of bit-depth, median, jpeg");
  CHECK_ERROR(add_input_transform(model, "bit-depth", 0), "bit-depth: bits = 0, 1 to 8 expected");
  CHECK_ERROR(add_input_transform(model, "bit-depth", 9), "bit-depth: bits = 9");
  CHECK_ERROR(add_input_transform(model, "median", 1), "median: size = 1, 2 to 15 expected");
  CHECK_ERROR(add_input_transform(model, "jpeg", 101), "jpeg: quality = 101, 1 to 100 expected");
  Model two("2x4x4 flatten fc3");
  CHECK_ERROR(add_input_transform(two, "jpeg", 75), "jpeg: images of 2 channels, 1 or 3 expected");
  CHECK(two.transforms().empty());
  CHECK_FALSE(two.metadata.contains("defences"));
  CHECK_ERROR(Oracle(model, {.stand_ins = true}), "there is nothing to stand in for");
  add_input_transform(model, "median", 2);
  CHECK_ERROR(add_input_transform(model, "median", 3), "median: the model has this defence already");
  CHECK(model.transforms().size() == 1);
  const Tensor x = images(1, model.input_shape());
  CHECK_ERROR(RandomNoise({}).run(model, {x, own_labels(model, x), {}, {}}, {.stand_ins = true}),
              "asks for no gradients, stand-ins would change nothing");
  for (const auto& [defences, phrase] : std::vector<std::pair<std::string, std::string>>{
           {R"([{"method":"bit-depth"}])",
            R"(f: metadata defences has a 'bit-depth' without an integer "bits")"},
           {R"([{"method":"jpeg","quality":"best"}])", "without an integer \"quality\""},
           {R"([{"method":"median","size":99}])", "f: median: size = 99"}}) {
    Archive archive = archive_of(small_net());
    archive.metadata["defences"] = defences;
    CHECK_ERROR(model_from_archive(archive, "f"), phrase);
  }
}
