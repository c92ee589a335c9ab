// Datasets in memory, by name, and drawn; and the real ones where they are at hand.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <doctest/doctest.h>

#include "core/parallel.h"
#include "datasets/registry.h"
#include "datasets/synthetic_digits.h"
#include "tests/datasets_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// n images of 1x2x2 whose pixels count up from 0, labels counting 0, 1, 2, 0, ...
Dataset counting(int64_t n) {
  Dataset d;
  d.name = "counting";
  d.images = Tensor::empty({n, 1, 2, 2}, DType::uint8);
  d.labels = Tensor::empty({n}, DType::int64);
  d.classes = 3;
  for (int64_t i = 0; i < 4 * n; ++i) d.images.data<uint8_t>()[i] = static_cast<uint8_t>(i);
  for (int64_t i = 0; i < n; ++i) d.labels.data<int64_t>()[i] = i % 3;
  return d;
}

/// An environment variable that gets its old value back.
class WithEnv {
 public:
  WithEnv(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    setenv(name, value.c_str(), 1);
  }
  ~WithEnv() { old_.empty() ? unsetenv(name_) : setenv(name_, old_.c_str(), 1); }
  WithEnv(const WithEnv&) = delete;
  WithEnv& operator=(const WithEnv&) = delete;

 private:
  const char* name_;
  std::string old_;
};

void put_mnist(const TempDir& dir, const std::string& folder, char pixel) {
  for (const char* part : {"train", "t10k"}) {
    dir.put(folder + "/" + part + "-images-idx3-ubyte.gz", gzip(idx({2, 1, 1}, {pixel, pixel})));
    dir.put(folder + "/" + part + "-labels-idx1-ubyte", idx({2}, {'\1', '\2'}));
  }
}

struct Moments {
  double mean, deviation;
};
/// Of one channel, pixels in [0,1].
Moments moments(const Dataset& d, int channel) {
  const int64_t area = d.images.size(2) * d.images.size(3), step = d.images.size(1) * area;
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < d.size(); ++i) {
    const uint8_t* p = d.images.data<uint8_t>() + i * step + channel * area;
    for (int64_t k = 0; k < area; ++k) {
      sum += p[k] / 255.0;
      squares += p[k] / 255.0 * p[k] / 255.0;
    }
  }
  const double n = static_cast<double>(d.size() * area), mean = sum / n;
  return {mean, std::sqrt(squares / n - mean * mean)};
}

/// The real set, or nothing, said by name, when this machine does not have it.
bool have(const char* name) {
  if (dataset_available(name)) return true;
  MESSAGE("skipped: " << name << " is not on this machine");
  return false;
}

}  // namespace

TEST_CASE("8-bit pixels become the same value in both precisions") {
  const Dataset d = counting(64);
  const std::vector<float> single = d.images_float(1, 64).to_vector<float>();
  const std::vector<double> wide = d.images_float(1, 64, DType::float64).to_vector<double>();
  REQUIRE(single.size() == 252);
  for (size_t i = 0; i < single.size(); ++i) {
    CHECK(single[i] == static_cast<float>(i + 4) / 255.0f);
    CHECK(wide[i] == static_cast<double>(single[i]));
  }
  CHECK(d.images_float(3, 3).shape() == Shape{0, 1, 2, 2});
  CHECK_THROWS_WITH_AS(d.images_float(0, 65), "counting: samples [0, 65) asked for, there are 64", Error);
  CHECK_THROWS_AS(d.images_float(5, 4), Error);
  CHECK_THROWS_AS(d.images_float(0, 1, DType::int64), Error);
}

TEST_CASE("of several pixels out of range the first is named, in a large set too") {
  Dataset d;
  d.images = Tensor::zeros({3, 1, 300, 200});
  d.images.data<float>()[110'000] = d.images.data<float>()[170'000] = 2;
  check_error([&] { validate(d, "here"); }, {"here: pixel 110000 of image 1 (channel 0, row 250, column 0)"});
}

TEST_CASE("first and select keep images and labels together") {
  const Dataset d = counting(5);
  const Dataset three = d.first(3), picked = d.select({4, 0, 4});
  CHECK(three.size() == 3);
  CHECK(three.labels_of(1, 3).to_vector<int64_t>() == std::vector<int64_t>{1, 2});
  CHECK(picked.images.to_vector<uint8_t>() ==
        std::vector<uint8_t>{16, 17, 18, 19, 0, 1, 2, 3, 16, 17, 18, 19});
  CHECK(picked.labels.to_vector<int64_t>() == std::vector<int64_t>{1, 0, 1});
  CHECK(d.select({}).size() == 0);
  CHECK(d.image_shape() == Shape{1, 2, 2});
  CHECK_THROWS_WITH_AS(d.select({0, 5}), "counting: index 5 asked for, there are 5 samples", Error);
  CHECK_THROWS_AS(d.select({-1}), Error);
  CHECK_THROWS_AS(d.first(6), Error);
  Dataset unlabelled = d;
  unlabelled.labels = {};
  CHECK_THROWS_WITH_AS(unlabelled.labels_of(0, 1), "counting: has no labels", Error);
  CHECK(unlabelled.first(2).size() == 2);
  CHECK(unlabelled.select({1}).size() == 1);
  Dataset alike = d;  // one label in memory, a view for all
  alike.labels = Tensor::full({1}, 3, DType::int64).expand({5});
  CHECK(alike.select({0, 4}).labels.to_vector<int64_t>() == std::vector<int64_t>{3, 3});
  alike.classes = 4;
  CHECK_THROWS_WITH_AS(validate(alike, "here"),
                       "here: labels are a strided view, contiguous memory is expected", Error);
}

TEST_CASE("named sets are searched for in --data-dir, HASHGRAD_DATA and the cache, in this order") {
  const TempDir dir;
  put_mnist(dir, "flag/mnist", 1);
  put_mnist(dir, "env/mnist", 2);
  put_mnist(dir, "home/.cache/hashgrad/data/mnist", 3);
  put_mnist(dir, "home/.cache/hashgrad/data/fashion-mnist", 4);
  const auto pixel = [](const std::string& name, const DataOptions& options = {}) {
    const Dataset d = load_dataset(name, Split::test, options);
    CHECK(d.name == name);
    return d.images.data<uint8_t>()[0];
  };
  DataOptions flag;
  flag.data_dir = dir / "flag";
  const WithEnv env("HASHGRAD_DATA", dir / "env"), home("HOME", dir / "home");
  CHECK(pixel("mnist", flag) == 1);
  flag.first = 1;
  CHECK(load_dataset("mnist", Split::test, flag).size() == 1);
  flag.first = 3;
  check_error([&] { load_dataset("mnist", Split::test, flag); }, {"samples [0, 3) asked for, there are 2"});
  flag.first = 10'001;
  check_error([&] { load_dataset("synthetic-digits", Split::test, flag); },
              {"samples [0, 10001) asked for, there are 10000"});
  flag.first = 0;
  CHECK(pixel("mnist") == 2);
  CHECK(pixel("fashion-mnist", flag) == 4);
  const WithEnv no_env("HASHGRAD_DATA", "");
  CHECK(pixel("mnist") == 3);
  CHECK(dataset_available("mnist"));
  CHECK(dataset_available("synthetic-digits"));
  CHECK_FALSE(dataset_available("cifar10", flag));
  std::filesystem::remove(dir / "home/.cache/hashgrad/data/mnist/train-labels-idx1-ubyte");
  CHECK_FALSE(dataset_available("mnist"));
  CHECK(pixel("mnist") == 3);
  check_error([] { load_dataset("mnist", Split::train); }, {"mnist: the train split was not found"});
  check_error([&] { load_dataset("cifar10", Split::train, flag); },
              {"cifar10: the train split was not found", dir / "flag/cifar10",
               dir / "home/.cache/hashgrad/data/cifar10", "data_batch_1.bin", "synthetic-digits"});
}

TEST_CASE("cifar10 is taken from binary batches or from image folders") {
  const TempDir dir;
  DataOptions options;
  options.data_dir = dir.str();
  dir.put("cifar10/test/cat/0.png", png(1, 1, 2, "abc"));
  CHECK(load_dataset("cifar10", Split::test, options).class_names == std::vector<std::string>{"cat"});
  dir.put("cifar10/cifar-10-batches-bin/test_batch.bin", '\3' + std::string(3072, 'x'));
  CHECK(load_dataset("cifar10", Split::test, options).class_names.size() == 10);
  dir.put("cifar10/data_batch_1.bin", '\3' + std::string(3072, 'x'));
  check_error([&] { load_dataset("cifar10", Split::train, options); }, {"data_batch_2.bin", "No such file"});
}

TEST_CASE("imagenet50 is a folder of images, scaled on demand") {
  const TempDir dir;
  DataOptions options;
  options.data_dir = dir.str();
  dir.put("imagenet50/train/n2/0.png", png(1, 1, 0, "t"));
  dir.put("imagenet50/val/n2/0.png", png(1, 1, 0, "v"));
  const Dataset test = load_dataset("imagenet50", Split::test, options);
  CHECK(test.name == "imagenet50");
  CHECK(test.images.data<uint8_t>()[0] == 'v');
  options.resize = {3, 3};
  const Dataset train = load_dataset("imagenet50", Split::train, options);
  CHECK(train.image_shape() == Shape{1, 3, 3});
  CHECK(train.images.to_vector<uint8_t>() == std::vector<uint8_t>(9, 't'));
  const WithEnv env("HASHGRAD_DATA", ""), home("HOME", dir / "empty");
  dir.put("whole/imagenet50/n2/0.png", png(1, 1, 0, "w"));  // of which split?
  options.data_dir = dir / "whole";
  CHECK_FALSE(dataset_available("imagenet50", options));
  check_error([&] { load_dataset("imagenet50", Split::test, options); },
              {"imagenet50: the test split was not found", "val/CLASS/*.JPEG"});
  options.data_dir = dir / "empty";
  check_error(
      [&] { load_dataset("imagenet50", Split::train, options); },
      {"imagenet50: the train split was not found", "val/CLASS/*.JPEG", "there, or use synthetic-digits"});
}

TEST_CASE("an image folder is split by its folders train, test and val, if it has them") {
  const TempDir dir;
  dir.put("parted/train/a/1.png", png(1, 1, 0, "t"));
  dir.put("parted/val/a/1.png", png(1, 1, 0, "v"));
  dir.put("parted/classes.txt", "a\n");
  dir.put("whole/a/1.png", png(1, 1, 0, "w"));
  dir.put("train-only/train/a/1.png", png(1, 1, 0, "t"));
  const auto pixel = [&](const std::string& name, Split split) {
    return load_dataset("imagefolder:" + dir / name, split).images.data<uint8_t>()[0];
  };
  CHECK(pixel("parted", Split::train) == 't');
  CHECK(pixel("parted", Split::test) == 'v');
  dir.put("parted/test/a/1.png", png(1, 1, 0, "s"));  // goes before val
  CHECK(pixel("parted", Split::test) == 's');
  CHECK(pixel("whole", Split::train) == 'w');
  CHECK(pixel("whole", Split::test) == 'w');
  check_error([&] { pixel("train-only", Split::test); }, {dir / "train-only/val", "No such file"});
  CHECK(has_test_split("imagefolder:" + dir / "parted"));
  for (const char* name : {"whole", "train-only"}) CHECK_FALSE(has_test_split("imagefolder:" + dir / name));
  CHECK(has_test_split("mnist"));
  CHECK(has_test_split("synthetic-digits"));
  CHECK_FALSE(has_test_split("digits.safetensors"));
}

TEST_CASE("the splits of an image folder have the same classes, so that a label means one") {
  const TempDir dir;
  for (const char* file :
       {"few/train/a/1.png", "few/train/b/1.png", "few/test/b/1.png", "more/train/a/1.png",
        "more/val/a/1.png", "more/val/b/1.png", "alike/train/a/1.png", "alike/test/a/1.png"})
    dir.put(file, png(1, 1, 0, "p"));
  const auto load = [&](const std::string& name) { load_dataset("imagefolder:" + dir / name, Split::test); };
  check_error([&] { load("few"); }, {dir / "few/test", "has no folder 'a' of train"});
  check_error([&] { load("more"); }, {dir / "more/val", "folder 'b' is named 0 times in train"});
  load("alike");
}

TEST_CASE("what cannot be loaded is said in one line that lists what can") {
  DataOptions options;
  check_error([&] { load_dataset("minst", Split::test, options); },
              {"'minst' is unknown", accepted_datasets});
  check_error([&] { load_dataset("", Split::test, options); }, {"'' is unknown"});
  check_error([&] { load_dataset("/none.safetensors", Split::test, options); },
              {"/none.safetensors", "No such file"});
  check_error([&] { load_dataset("imagefolder:/none", Split::test, options); }, {"/none", "No such file"});
  check_error([&] { load_dataset("imagefolder:", Split::test, options); },
              {"'imagefolder:' names no folder"});
  check_error([] { parse_split("val"); }, {"'val' is unknown (accepted: train, test)"});
  CHECK(parse_split("train") == Split::train);
  CHECK(std::string(name_of(parse_split("test"))) == "test");
  options.first = -1;
  check_error([&] { load_dataset("synthetic-digits", Split::test, options); }, {"first -1"});
}

TEST_CASE("image k of the synthetic digits is the same whatever is drawn beside it") {
  const int before = threads();
  set_threads(1);
  const Dataset few = synthetic_digits(Split::train, 33);
  set_threads(3);
  const Dataset many = synthetic_digits(Split::train, 129);
  set_threads(before);
  CHECK(identical(few.images, many.first(33).images));
  CHECK(identical(few.labels, many.first(33).labels));
  DataOptions first;
  first.first = 33;
  CHECK(identical(load_dataset("synthetic-digits", Split::train, first).images, few.images));
  CHECK_FALSE(identical(synthetic_digits(Split::test, 33).images, few.images));
  first.seed = 1;
  const Dataset others = synthetic_digits(Split::train, 33, 1);
  CHECK_FALSE(identical(others.images, few.images));
  CHECK(identical(load_dataset("synthetic-digits", Split::train, first).images, others.images));
  CHECK_THROWS_AS(synthetic_digits(Split::train, 0), Error);
}

TEST_CASE("synthetic digits look like MNIST to a statistician") {
  const Dataset d = synthetic_digits(Split::train, 4000);
  validate(d, "synthetic-digits");
  const auto [mean, deviation] = moments(d, 0);
  CHECK(mean == doctest::Approx(0.1307).epsilon(0.05));
  CHECK(deviation == doctest::Approx(0.3081).epsilon(0.1));
  std::vector<int64_t> count(10);
  for (int64_t y : d.labels.to_vector<int64_t>()) ++count[static_cast<size_t>(y)];
  for (int64_t c : count) CHECK(std::abs(static_cast<double>(c) - 400) < 5 * std::sqrt(360.0));
  const uint8_t* pixels = d.images.data<uint8_t>();
  const double blank = static_cast<double>(std::count(pixels, pixels + d.images.numel(), 0));
  CHECK(blank / static_cast<double>(d.images.numel()) ==
        doctest::Approx(0.809).epsilon(0.1));  // MNIST: 80.9 %
}

TEST_CASE("the nearest class mean tells most synthetic digits, but far from all") {
  const Dataset train = synthetic_digits(Split::train, 3000), test = synthetic_digits(Split::test, 500);
  const std::vector<float> x = train.images_float(0, 3000).to_vector<float>();
  std::vector<double> mean(7840);
  std::vector<double> count(10);
  for (size_t i = 0; i < 3000; ++i) {
    const size_t y = static_cast<size_t>(train.labels.data<int64_t>()[i]);
    ++count[y];
    for (size_t k = 0; k < 784; ++k) mean[784 * y + k] += static_cast<double>(x[784 * i + k]);
  }
  int right = 0;
  for (int64_t i = 0; i < test.size(); ++i) {
    const std::vector<float> image = test.images_float(i, i + 1).to_vector<float>();
    std::vector<double> distance(10);
    for (size_t y = 0; y < 10; ++y)
      for (size_t k = 0; k < 784; ++k)
        distance[y] += std::pow(static_cast<double>(image[k]) - mean[784 * y + k] / count[y], 2);
    const auto nearest = std::min_element(distance.begin(), distance.end()) - distance.begin();
    right += nearest == test.labels.data<int64_t>()[i];
  }
  CHECK(right > 300);
  CHECK(right < 450);
}

TEST_CASE("real MNIST has its known shape and moments") {
  if (!have("mnist")) return;
  const Dataset train = load_dataset("mnist", Split::train), test = load_dataset("mnist", Split::test);
  CHECK(train.images.shape() == Shape{60000, 1, 28, 28});
  CHECK(test.images.shape() == Shape{10000, 1, 28, 28});
  const auto [mean, deviation] = moments(train, 0);
  CHECK(mean == doctest::Approx(0.1307).epsilon(5e-4));
  CHECK(deviation == doctest::Approx(0.3081).epsilon(5e-4));
  CHECK(train.first(5).labels.to_vector<int64_t>() == std::vector<int64_t>{5, 0, 4, 1, 9});
  CHECK(test.first(5).labels.to_vector<int64_t>() == std::vector<int64_t>{7, 2, 1, 0, 4});
}

TEST_CASE("real CIFAR-10 has its known shape and moments") {
  if (!have("cifar10")) return;
  const Dataset test = load_dataset("cifar10", Split::test);
  CHECK(test.images.shape() == Shape{10000, 3, 32, 32});
  CHECK(test.classes == 10);
  CHECK(test.class_names[3] == "cat");
  const double mean[] = {0.4942, 0.4851, 0.4504}, deviation[] = {0.2467, 0.2429, 0.2616};
  for (int c = 0; c < 3; ++c) {
    CHECK(moments(test, c).mean == doctest::Approx(mean[c]).epsilon(0.003));
    CHECK(moments(test, c).deviation == doctest::Approx(deviation[c]).epsilon(0.01));
  }
}

TEST_CASE("real 64x64 photographs, some of them gray, become one colour set") {
  const char* home = std::getenv("HOME");
  const std::string dir = std::string(home ? home : "") + "/.cache/hashgrad/data/imagenet50";
  if (!std::filesystem::exists(dir)) {
    MESSAGE("skipped: imagenet50 is not on this machine");
    return;
  }
  const Dataset d = load_dataset("imagefolder:" + dir, Split::test);
  CHECK(d.images.shape() == Shape{2500, 3, 64, 64});
  CHECK(d.class_names.size() == 50);
  constexpr int64_t area = 64 * 64;
  int gray = 0;
  for (int64_t i = 0; i < d.size(); ++i) {
    const uint8_t* p = d.images.data<uint8_t>() + i * 3 * area;
    gray += std::equal(p, p + area, p + area) && std::equal(p, p + area, p + 2 * area);
  }
  CHECK(gray >= 16);  // 16 files have one component; a colour file may show a gray scene
  CHECK(gray < 50);
  for (int64_t i = 0; i < 50; ++i) CHECK(d.labels.data<int64_t>()[i] == i);
}
