#include <doctest/doctest.h>

#include "attacks/probes.h"
#include "core/math_mode.h"
#include "core/random.h"
#include "defenses/input_transforms.h"
#include "nn/pixel_queries.h"
#include "tests/error_of.h"
#include "tests/ops_testing.h"

using namespace hashgrad;

namespace {

/// Every number of every image, once each.
std::vector<PixelQueries::Query> all_numbers(const Tensor& images) {
  std::vector<PixelQueries::Query> queries;
  Random random(2, Stream::test);
  const int64_t numbers = images.numel() / images.size(0);
  for (int64_t n = 0; n < images.size(0); ++n)
    for (int64_t i = 0; i < numbers; ++i) queries.push_back({n, i, static_cast<float>(random.uniform())});
  return queries;
}

/// The images that are asked about, one by one.
Tensor whole_images(const Tensor& images, const std::vector<PixelQueries::Query>& queries) {
  Tensor asked = Tensor::empty(images.shape().without(0).with(0, std::ssize(queries)), images.dtype());
  for (size_t q = 0; q < queries.size(); ++q) {
    Tensor one = asked.slice(0, static_cast<int64_t>(q), static_cast<int64_t>(q) + 1);
    one.copy_from(images.slice(0, queries[q].image, queries[q].image + 1));
    for_float_type(images.dtype(), "test",
                   [&]<class T>() { one.data<T>()[queries[q].number] = static_cast<T>(queries[q].value); });
  }
  return asked;
}

const char* const specs[] = {
    "1x14x14 conv5k5p2 relu maxpool2 conv7k5p2 relu maxpool2 flatten fc9 relu fc3 softmax",
    "1x13x17 conv4k3p1 relu conv5k3p1 relu maxpool2 conv6k3p1 relu maxpool2 flatten fc3",
    "2x9x7 norm(0.1,0.2;0.5,0.25) conv3k3nb bn relu maxpool2 conv3k1 dropout0.5 flatten fc4",
    "1x3x3 conv2k3p1 relu maxpool2 flatten fc2",
    // Convolutions in tiles, and next to them such that cannot be: an odd number of outputs, a few.
    "1x12x14 conv32k3p1 relu conv33k3p1 relu maxpool2 conv32k3p1 relu flatten fc3",
    "1x14x12 conv32k5p2 relu conv32k5p2 relu maxpool2 conv32k3p1 relu flatten fc3",
    "32x9x12 conv32k3 conv32k3p1 relu maxpool2 conv32k3p2 flatten fc3",
    // What ends the windows: a stride, hashed weights, no maps at all, a branch.
    "1x8x8 conv3k3p2 maxpool2 maxpool2 conv2k3p1s2 relu flatten fc3",
    "1x6x6 conv3k3p1@1/4 relu maxpool2 flatten fc3",
    "1x5x5 flatten fc7 relu fc3",
    "1x8x8 conv3k3p1 relu =a conv3k3p1 +a relu flatten fc3",
};

}  // namespace

TEST_CASE("queries about one number have the bits of whole images") {
  for (const char* spec : specs)
    for (const DType dtype : {DType::float32, DType::float64})
      for (const Math math : {Math::fp32, Math::split_bf16, Math::bf16}) {
        CAPTURE(spec);
        const MathScope scope(math);
        const Model model(spec, {.dtype = dtype, .seed = 3});
        const Tensor images = testing::random_tensor(model.input_shape().with(0, 2), 1, dtype);
        const std::vector<PixelQueries::Query> queries = all_numbers(images);
        CHECK(identical(PixelQueries(model, images).logits(queries),
                        model.logits(whole_images(images, queries))));
      }
}

TEST_CASE("an oracle is asked about numbers of more images than its batch holds, transformed ones, too") {
  for (const bool transformed : {false, true}) {
    Model model(specs[0], {.seed = 3});
    if (transformed) add_input_transform(model, "bit-depth", 4);
    const Tensor images = testing::random_tensor(model.input_shape().with(0, 5), 1);
    std::vector<PixelQueries::Query> queries = all_numbers(images);
    std::erase_if(queries, [](const auto& q) { return q.image == 3 || q.number % 11 != 0; });
    const Oracle oracle(model, {.batch = 3});
    int64_t asked = 0;
    ask_about_numbers<float>(oracle, images, queries, [&](int64_t first, const Tensor& logits) {
      CHECK(first == asked);
      asked += logits.size(0);
      const auto begin = queries.begin() + first;
      CHECK(identical(logits, model.logits(whole_images(images, {begin, begin + logits.size(0)}))));
    });
    CHECK(asked == std::ssize(queries));
  }
}

TEST_CASE("queries outside of the images are refused") {
  const Model model("1x4x4 conv2k3p1 relu flatten fc2");
  const PixelQueries ask(model, Tensor::zeros({1, 1, 4, 4}));
  CHECK_ERROR(ask.logits({{0, 16, 0.5}}), "number 16 of image 0");
  CHECK_ERROR(ask.logits({{1, 0, 0.5}}), "number 0 of image 1");
  CHECK(ask.logits({}).shape() == Shape({0, 2}));
}
