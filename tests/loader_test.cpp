// The order, content and life of batches.
#include "datasets/loader.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <numeric>
#include <set>

#include "core/random.h"
#include "tests/datasets_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// Image i of 1x3x4 holds (i + k) / 300 at pixel k.
Dataset numbered(int64_t n) {
  Dataset d;
  d.name = "numbered";
  d.images = Tensor::empty({n, 1, 3, 4});
  d.labels = Tensor::empty({n}, DType::int64);
  d.classes = 7;
  for (int64_t i = 0; i < n; ++i) {
    d.labels.data<int64_t>()[i] = i % 7;
    for (int64_t k = 0; k < 12; ++k) d.images.data<float>()[12 * i + k] = static_cast<float>(i + k) / 300;
  }
  return d;
}

LoaderOptions with_batch(int64_t batch) {
  LoaderOptions options;
  options.batch = batch;
  return options;
}

struct Pass {
  std::vector<int64_t> indices, labels, sizes;
  std::vector<float> pixels;
  bool operator==(const Pass&) const = default;
};

Pass run(Epoch epoch) {
  Pass pass;
  while (const std::optional<Batch> batch = epoch.next()) {
    const std::vector<int64_t> labels = batch->labels.to_vector<int64_t>();
    const std::vector<float> pixels = batch->images.to_vector<float>();
    pass.indices.insert(pass.indices.end(), batch->indices.begin(), batch->indices.end());
    pass.labels.insert(pass.labels.end(), labels.begin(), labels.end());
    pass.pixels.insert(pass.pixels.end(), pixels.begin(), pixels.end());
    pass.sizes.push_back(batch->images.size(0));
  }
  CHECK_FALSE(epoch.next());
  return pass;
}

/// Pixels of sample `index` in a pass.
std::vector<float> image_of(const Pass& pass, int64_t index) {
  const auto at = std::find(pass.indices.begin(), pass.indices.end(), index) - pass.indices.begin();
  return {pass.pixels.begin() + 12 * at, pass.pixels.begin() + 12 * (at + 1)};
}

std::vector<double> changed(const std::string& spec, int64_t sample, int64_t epoch,
                            const std::vector<double>& image, int64_t channels, int64_t height,
                            int64_t width) {
  std::vector<double> out(image.size(), std::numeric_limits<double>::quiet_NaN());
  cpu::augment(parse_augmentation(spec), 5, &epoch, 1, &sample, channels, height, width, image.data(),
               out.data());
  return out;
}

}  // namespace

TEST_CASE("an epoch visits every sample once, with its own pixels and label") {
  for (int64_t n : {1, 3, 17, 33, 129}) {
    const Dataset d = numbered(n);
    const Loader loader(d, with_batch(8));
    const Pass pass = run(loader.epoch(0));
    CAPTURE(n);
    CHECK(static_cast<int64_t>(pass.sizes.size()) == loader.batches());
    CHECK(pass.indices == loader.order(0));
    std::vector<int64_t> sorted = pass.indices;
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < n; ++i) CHECK(sorted[static_cast<size_t>(i)] == i);
    for (size_t row = 0; row < pass.indices.size(); ++row) {
      CHECK(pass.labels[row] == pass.indices[row] % 7);
      CHECK(pass.pixels[12 * row + 11] == static_cast<float>(pass.indices[row] + 11) / 300);
    }
  }
}

TEST_CASE("the order is a function of seed and epoch") {
  LoaderOptions options = with_batch(8);
  const Loader a(numbered(100), options);
  options.batch = 33;
  const Loader b(numbered(100), options);
  options.seed = 1;
  const Loader c(numbered(100), options);
  CHECK(a.order(4) == b.order(4));
  CHECK(a.order(4) != a.order(5));
  CHECK(a.order(4) != c.order(4));
  options.shuffle = false;
  const std::vector<int64_t> straight = Loader(numbered(100), options).order(4);
  CHECK(std::is_sorted(straight.begin(), straight.end()));
}

TEST_CASE("a last batch that is not full is kept or left out as asked") {
  LoaderOptions options = with_batch(8);
  CHECK(run(Loader(numbered(17), options).epoch(0)).sizes == std::vector<int64_t>{8, 8, 1});
  options.drop_last = true;
  CHECK(run(Loader(numbered(17), options).epoch(0)).sizes == std::vector<int64_t>{8, 8});
}

TEST_CASE("an epoch that starts in the middle is the end of the whole one") {
  LoaderOptions options = with_batch(8);
  options.augmentation = parse_augmentation("shift:2,flip");
  const Loader loader(numbered(33), options);
  const Pass whole = run(loader.epoch(3)), end = run(loader.epoch(3, 2));
  CHECK(end.sizes.size() == 3);
  CHECK(std::equal(end.indices.begin(), end.indices.end(), whole.indices.begin() + 16, whole.indices.end()));
  CHECK(std::equal(end.pixels.begin(), end.pixels.end(), whole.pixels.begin() + 16 * 12, whole.pixels.end()));
  CHECK(run(loader.epoch(3, 5)).sizes.empty());
}

TEST_CASE("an augmented image does not depend on its batch, but on seed and epoch") {
  LoaderOptions options = with_batch(4);
  options.augmentation = parse_augmentation("shift:1,flip");
  const Dataset d = numbered(40);
  const Pass small = run(Loader(d, options).epoch(1)), later = run(Loader(d, options).epoch(2));
  options.batch = 40;
  options.shuffle = false;
  const Pass large = run(Loader(d, options).epoch(1));
  int same = 0;
  for (int64_t i = 0; i < 40; ++i) {
    CHECK(image_of(small, i) == image_of(large, i));
    same += image_of(small, i) == image_of(later, i);
  }
  CHECK(same < 20);
}

TEST_CASE("float64 batches widen the float32 pixels") {
  LoaderOptions options = with_batch(3);
  options.dtype = DType::float64;
  options.shuffle = false;
  const Dataset d = numbered(3);
  const std::optional<Batch> batch = Loader(d, options).epoch(0).next();
  REQUIRE(batch);
  CHECK(identical(batch->images, d.images.to(DType::float64)));
}

TEST_CASE("unlabelled data gives batches without labels") {
  Dataset d = numbered(5);
  d.labels = {};
  const std::optional<Batch> batch = Loader(d, with_batch(5)).epoch(0).next();
  REQUIRE(batch);
  CHECK_FALSE(batch->labels.defined());
}

TEST_CASE("an epoch may be left, moved and replaced at any moment") {
  const Loader loader(numbered(129), with_batch(2));
  for (int taken : {0, 1, 5}) {
    Epoch epoch = loader.epoch(0);
    for (int i = 0; i < taken; ++i) CHECK(epoch.next());
    Epoch moved = std::move(epoch);
    CHECK(moved.next()->indices == std::vector<int64_t>{loader.order(0)[static_cast<size_t>(2 * taken)],
                                                        loader.order(0)[static_cast<size_t>(2 * taken) + 1]});
    moved = loader.epoch(1);
    CHECK(moved.next()->indices[0] == loader.order(1)[0]);
  }
}

TEST_CASE("an epoch outlives its loader") {
  std::optional<Epoch> epoch;
  {
    const Loader loader(numbered(9), with_batch(2));
    epoch = loader.epoch(0);
  }
  int batches = 0;
  while (epoch->next()) ++batches;
  CHECK(batches == 5);
}

TEST_CASE("loaders refuse what they cannot do") {
  const Dataset d = numbered(9);
  check_error([&] { Loader(d, with_batch(0)); }, {"loader: batch 0"});
  check_error([&] { Loader(Dataset{}, with_batch(1)); }, {"loader: images have shape []"});
  LoaderOptions options = with_batch(10);
  options.drop_last = true;
  check_error([&] { Loader(d, options); }, {"batch 10 of 9 samples leaves no full batch"});
  options = with_batch(1);
  options.dtype = DType::uint8;
  check_error([&] { Loader(d, options); }, {"float32 or float64, not uint8"});
  options.dtype = DType::float32;
  options.ahead = 0;
  check_error([&] { Loader(d, options); }, {"0 batches ahead"});
  const Loader loader(d, with_batch(4));
  check_error([&] { loader.epoch(-1); }, {"epoch -1"});
  check_error([&] { loader.epoch(int64_t{1} << 32); }, {"epoch 4294967296 is not in [0, 2^32)"});
  check_error([&] { loader.epoch(0, 4); }, {"batch 4 asked for, an epoch has 3"});
  Dataset short_labels = d;
  short_labels.labels = d.labels_of(0, 8);
  check_error([&] { Loader(short_labels, with_batch(1)); }, {"labels have shape [8], expected [9]"});
}

TEST_CASE("augmentation is read from words and written back to them") {
  for (const char* text :
       {"none", "flip", "shift:2", "shift:64,flip", "cutout:8", "shift:4,flip,cutout:64", "flip,jitter:0.25"})
    CHECK(to_string(parse_augmentation(text)) == text);
  CHECK(to_string(parse_augmentation("flip,crop:4")) == "shift:4,flip");
  for (const char* text : {"", "shift", "rotate:3", "flip,", ",flip", "flip shift:2", "none,flip"})
    check_error([&] { parse_augmentation(text); },
                {"is unknown (accepted: none, or a list of shift:P, crop:P, flip, cutout:S, jitter:S)"});
  for (const char* text : {"flip,flip", "shift:1,crop:1", "cutout:1,cutout:1", "jitter:0.1,jitter:0.1"})
    check_error([&] { parse_augmentation(text); }, {text, "asks for the same change twice"});
  for (const char* text : {"shift:", "shift:0", "shift:65", "crop:-1", "shift:2x", "cutout:0", "cutout:65",
                           "crop:99999999999999999999"})
    check_error([&] { parse_augmentation(text); }, {text, "is not a number of pixels (accepted: 1 to 64)"});
}

TEST_CASE("jitter changes brightness, contrast and saturation by its factors, and nothing else") {
  const Augmentation jitter = parse_augmentation("jitter:0.4");
  const std::vector<double> image{0.2, 0.5, 0.9, 0.3, 0.6, 0.4};  // [3,1,2]
  double lowest = 2, highest = 0;
  for (int64_t sample = 0; sample < 300; ++sample) {
    const Tint tint(jitter, 5, 7, sample);
    const std::vector<double> out = changed("jitter:0.4", sample, 7, image, 3, 1, 2);
    for (size_t at = 0; at < 2; ++at) {
      double lit[3], grey = 0;
      for (size_t c = 0; c < 3; ++c) {
        lit[c] = (image[2 * c + at] * tint.brightness - 0.5) * tint.contrast + 0.5;
        grey += lit[c] * std::array{0.299, 0.587, 0.114}[c];
      }
      for (size_t c = 0; c < 3; ++c)
        CHECK(out[2 * c + at] ==
              doctest::Approx(std::clamp(grey + tint.saturation * (lit[c] - grey), 0.0, 1.0)));
    }
    lowest = std::min({lowest, tint.brightness, tint.contrast, tint.saturation});
    highest = std::max({highest, tint.brightness, tint.contrast, tint.saturation});
  }
  CHECK(lowest > 0.6);
  CHECK(lowest < 0.61);
  CHECK(highest < 1.4);
  CHECK(highest > 1.39);
  // One channel has no saturation; places are those without jitter, and what is filled in stays 0.
  const Tint tint(jitter, 5, 7, 3);
  const std::vector<double> grey(20, 0.5),
      moved = changed("shift:1,flip,cutout:2", 3, 7, grey, 1, 4, 5),
      both = changed("shift:1,flip,cutout:2,jitter:0.4", 3, 7, grey, 1, 4, 5);
  const double lit = (0.5 * tint.brightness - 0.5) * tint.contrast + 0.5;
  for (size_t i = 0; i < 20; ++i) CHECK(both[i] == doctest::Approx(moved[i] == 0 ? 0 : lit));
  const std::vector<double> two = changed("jitter:0.4", 3, 7, {0.5, 0.6}, 2, 1, 1);
  CHECK(two[0] == doctest::Approx(lit));
  CHECK(two[1] == doctest::Approx((0.6 * tint.brightness - 0.5) * tint.contrast + 0.5));
  Random random(5, Stream::colour, 3, 7);  // not the numbers that place the image
  CHECK(tint.brightness == 1 + 0.4 * (2 * random.uniform_double() - 1));
  for (const char* text : {"jitter:", "jitter:0", "jitter:1.5", "jitter:-1", "jitter:x"}) {
    CAPTURE(text);
    check_error([&] { parse_augmentation(text); }, {"augment: jitter is "});
  }
}

TEST_CASE("cutout sets one square of every channel to 0, inside the image, and reaches every place") {
  const std::vector<double> ones(2 * 4 * 5, 1);
  std::set<std::pair<size_t, size_t>> places;
  for (int64_t sample = 0; sample < 200; ++sample) {
    const std::vector<double> out = changed("cutout:3", sample, 0, ones, 2, 4, 5);
    const size_t first = static_cast<size_t>(std::find(out.begin(), out.end(), 0.0) - out.begin());
    REQUIRE(first < 20);
    const size_t top = first / 5, left = first % 5;
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t row = i % 20 / 5, column = i % 5;
      const bool inside = top <= row && row < top + 3 && left <= column && column < left + 3;
      CHECK(out[i] == (inside ? 0 : 1));
    }
    places.emplace(top, left);
  }
  CHECK(places.size() == 6);
  CHECK(changed("cutout:9", 0, 0, ones, 2, 4, 5) == std::vector<double>(ones.size(), 0));
  // The draws of the other changes are those without it.
  std::vector<double> ramp(20);
  for (size_t i = 0; i < 20; ++i) ramp[i] = 1 + static_cast<double>(i);
  const std::vector<double> moved = changed("shift:1,flip", 3, 1, ramp, 1, 4, 5);
  const std::vector<double> both = changed("shift:1,flip,cutout:2", 3, 1, ramp, 1, 4, 5);
  int64_t differ = 0;
  for (size_t i = 0; i < 20; ++i) differ += moved[i] != both[i];
  CHECK(differ <= 4);
}

TEST_CASE("shifts move all channels alike, fill with zeros, and reach every offset") {
  std::vector<double> image(18);
  std::iota(image.begin(), image.end(), 1.0);
  std::vector<int> seen(9);
  for (int64_t sample = 0; sample < 200; ++sample) {
    const std::vector<double> out = changed("shift:1", sample, 0, image, 2, 3, 3);
    int matches = 0;
    for (int64_t dy = -1; dy <= 1; ++dy)
      for (int64_t dx = -1; dx <= 1; ++dx) {
        std::vector<double> expected;
        for (int64_t c = 0; c < 2; ++c)
          for (int64_t y = dy; y < 3 + dy; ++y)
            for (int64_t x = dx; x < 3 + dx; ++x)
              expected.push_back(
                  y < 0 || y > 2 || x < 0 || x > 2 ? 0.0 : image[static_cast<size_t>(9 * c + 3 * y + x)]);
        if (out == expected) {
          ++matches;
          ++seen[static_cast<size_t>(3 * (dy + 1) + dx + 1)];
        }
      }
    CHECK(matches == 1);
  }
  for (int s : seen) CHECK(s > 5);
}

TEST_CASE("a flip mirrors half of the images left to right") {
  const std::vector<double> image{1, 2, 3, 4, 5, 6}, mirrored{3, 2, 1, 6, 5, 4};
  int flips = 0;
  for (int64_t sample = 0; sample < 400; ++sample) {
    const std::vector<double> out = changed("flip", sample, 7, image, 1, 2, 3);
    CHECK((out == image || out == mirrored));
    flips += out == mirrored;
  }
  CHECK(flips > 150);
  CHECK(flips < 250);
}

TEST_CASE("a shift beyond the image leaves nothing of it") {
  const std::vector<double> image{1, 1, 1, 1};
  int blank = 0;
  for (int64_t sample = 0; sample < 50; ++sample)
    blank += changed("shift:64", sample, 0, image, 1, 2, 2) == std::vector<double>(4, 0.0);
  CHECK(blank > 45);
}

TEST_CASE("every order comes now and then") {
  const Loader loader(numbered(3), with_batch(3));
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 60; ++epoch) orders.insert(loader.order(epoch));
  CHECK(orders.size() == 6);
}
