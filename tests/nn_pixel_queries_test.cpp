#include <doctest/doctest.h>

#include "core/random.h"
#include "nn/pixel_queries.h"
#include "tests/error_of.h"

using namespace hashgrad;

namespace {

template <class T>
Tensor random_images(const Shape& image, int64_t n) {
  Tensor x = Tensor::empty(image.with(0, n), dtype_of<T>);
  Random random(1, Stream::test);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<T>()[i] = static_cast<T>(random.uniform());
  return x;
}

/// Every number of every image, once each.
std::vector<PixelQueries::Query> all_numbers(const Tensor& images) {
  std::vector<PixelQueries::Query> queries;
  Random random(2, Stream::test);
  const int64_t numbers = images.numel() / images.size(0);
  for (int64_t n = 0; n < images.size(0); ++n)
    for (int64_t i = 0; i < numbers; ++i) queries.push_back({n, i, static_cast<float>(random.uniform())});
  return queries;
}

}  // namespace

TEST_CASE_TEMPLATE("queries about one number have the bits of whole images", T, float, double) {
  for (const char* spec :
       {"1x14x14 conv5k5p2 relu maxpool2 conv7k5p2 relu maxpool2 flatten fc9 relu fc3 softmax",
        "1x13x17 conv4k3p1 relu conv5k3p1 relu maxpool2 conv6k3p1 relu maxpool2 flatten fc3",
        "2x9x7 norm(0.1,0.2;0.5,0.25) conv3k3nb bn relu maxpool2 conv3k1 dropout0.5 flatten fc4",
        "1x8x8 conv3k3p2 maxpool2 maxpool2 conv2k3p1s2 relu flatten fc3",  // one with a stride ends the
                                                                           // windows
        "1x6x6 conv3k3p1@1/4 relu maxpool2 flatten fc3", "1x5x5 flatten fc7 relu fc3",
        "1x8x8 conv3k3p1 relu =a conv3k3p1 +a relu flatten fc3",
        "1x3x3 conv2k3p1 relu maxpool2 flatten fc2"}) {
    CAPTURE(spec);
    const Model model(spec, {.dtype = dtype_of<T>, .seed = 3});
    const Tensor images = random_images<T>(model.input_shape(), 2);
    const std::vector<PixelQueries::Query> queries = all_numbers(images);
    Tensor asked = Tensor::empty(model.input_shape().with(0, std::ssize(queries)), dtype_of<T>);
    for (size_t q = 0; q < queries.size(); ++q) {
      Tensor one = asked.slice(0, static_cast<int64_t>(q), static_cast<int64_t>(q) + 1);
      one.copy_from(images.slice(0, queries[q].image, queries[q].image + 1));
      one.data<T>()[queries[q].number] = static_cast<T>(queries[q].value);
    }
    CHECK(identical(PixelQueries(model, images).logits(queries), model.logits(asked)));
  }
}

TEST_CASE("queries outside of the images are refused") {
  const Model model("1x4x4 conv2k3p1 relu flatten fc2");
  const PixelQueries ask(model, Tensor::zeros({1, 1, 4, 4}));
  CHECK_ERROR(ask.logits({{0, 16, 0.5}}), "number 16 of image 0");
  CHECK_ERROR(ask.logits({{1, 0, 0.5}}), "number 0 of image 1");
  CHECK(ask.logits({}).shape() == Shape({0, 2}));
}
