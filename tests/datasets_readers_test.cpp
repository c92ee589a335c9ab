// Every reader: what it reads, and what it says about files that are not what they claim to be.
#include <cmath>
#include <doctest/doctest.h>
#include <functional>
#include <limits>

#include "core/archive.h"
#include "datasets/cifar.h"
#include "datasets/idx.h"
#include "datasets/image_decoder.h"
#include "datasets/image_folder.h"
#include "datasets/tensor_file.h"
#include "tests/datasets_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

using Bytes = std::vector<uint8_t>;

struct BadInput {
  const char* what;
  std::function<void()> read;
  std::vector<std::string> phrases;
};

void check_all(const std::vector<BadInput>& table) {
  for (const BadInput& bad : table) {
    CAPTURE(bad.what);
    check_error(bad.read, bad.phrases);
  }
}

const std::string twelve = "abcdefghijkl";

/// The gray image of jpeg(false) with all that 0xff may mean in its pixels: a restart marker between the
/// second and the third of its four blocks, a byte 0xff, which a 0 follows, and one that fills up before the
/// end. The code 10 is for a DC difference of twelve bits: the last block is white.
std::string jpeg_with_escapes() {
  using namespace std::string_literals;
  std::string bytes = jpeg(false);
  bytes[bytes.find("\xff\xc4"s) + 22] = 12;
  const size_t scan = bytes.find("\xff\xda"s);
  bytes.replace(bytes.size() - 3, 3, "\x0f\xff\xd0\x2f\xff\0\x7f\xff\xff\xd9"s);
  return bytes.insert(scan, "\xff\xdd\0\x04\0\x02"s);
}

std::string record(char label, char fill) { return label + std::string(3072, fill); }

Archive batch(const Tensor& x, const Tensor& y) { return {{{"x", x}, {"y", y}}, {}}; }

/// Every cut and every flipped bit of `content` either reads or is an Error; the sanitizers watch.
void damage(const std::string& content, const std::function<void(const std::string&)>& read) {
  const TempDir dir;
  const auto attempt = [&](const std::string& bytes) {
    const std::string path = dir.put("f", bytes);
    try {
      read(path);
    } catch (const Error& e) {
      CHECK(std::string(e.what()).find(path) == 0);
    }
  };
  for (size_t n = 0; n < content.size(); ++n) attempt(content.substr(0, n));
  for (size_t bit = 0; bit < content.size() * 8; ++bit) {
    std::string flipped = content;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    attempt(flipped);
  }
}

}  // namespace

TEST_CASE("an IDX file reads the same plain and packed, whatever its name") {
  const TempDir dir;
  const std::string content = idx({2, 3, 2}, twelve);
  for (const std::string& path : {dir.put("plain", content), dir.put("plain.gz", content),
                                  dir.put("packed.gz", gzip(content)), dir.put("packed", gzip(content))}) {
    const Tensor t = read_idx(path, 3);
    CHECK(t.shape() == Shape{2, 3, 2});
    CHECK(t.to_vector<uint8_t>() == Bytes(twelve.begin(), twelve.end()));
  }
  const std::string zeros(60000, '\0');  // packed to about a thousandth
  CHECK(read_idx(dir.put("zeros", gzip(idx({60, 20, 50}, zeros))), 3).numel() == 60000);
}

TEST_CASE("a pair of IDX files becomes images with one channel and int64 labels") {
  const TempDir dir;
  const Dataset d =
      read_idx_pair(dir.put("x", idx({2, 3, 2}, twelve)), dir.put("y", idx({2}, {'\x09', '\0'})));
  CHECK(d.images.shape() == Shape{2, 1, 3, 2});
  CHECK(d.labels.to_vector<int64_t>() == std::vector<int64_t>{9, 0});
  CHECK(d.classes == 10);
}

TEST_CASE("malformed IDX files get one line that says what is wrong and where") {
  const TempDir dir;
  const std::string good = idx({2, 3, 2}, twelve), labels = idx({2}, {'\1', '\2'});
  const auto reads = [&](const std::string& content) {
    return [&dir, content] { read_idx(dir.put("f", content), 3); };
  };
  const auto pair = [&](const std::string& x, const std::string& y) {
    return [&dir, x, y] { read_idx_pair(dir.put("x", x), dir.put("y", y)); };
  };
  std::string bad_data = gzip(good), bad_sum = gzip(good);
  bad_data[12] = static_cast<char>(bad_data[12] ^ 0x40);
  bad_sum[bad_sum.size() - 8] = static_cast<char>(bad_sum[bad_sum.size() - 8] ^ 1);
  check_all({
      {"empty", reads(""), {dir / "f", "the file is empty"}},
      {"missing", [&] { read_idx(dir / "none", 3); }, {dir / "none", "No such file"}},
      {"a directory", [&] { read_idx(dir.str(), 3); }, {dir.str(), "is a directory"}},
      {"three bytes", reads("\1\2\3"), {"truncated at offset", "the magic number need 4 bytes"}},
      {"labels for images", reads(labels), {"offset 0 holds 0x00000801", "starts with 0x00000803"}},
      {"floats", reads(big_endian(0x0D03) + good.substr(4)), {"0x00000d03", "0x00000803"}},
      {"text", reads("label,pixel1,pixel2\n5,0,0\n"), {"offset 0 holds 0x6c616265"}},
      {"sizes cut", reads(good.substr(0, 10)), {"truncated at offset 10", "the sizes"}},
      {"a size of zero", reads(idx({2, 0, 2}, "")), {"axis 1 (offset 8) has size 0"}},
      {"one image too few", reads(idx({3, 3, 2}, twelve)), {"promises 18 bytes", "offset 16", "can hold 12"}},
      {"2^96 bytes promised", reads(idx({~0u, ~0u, ~0u}, twelve)), {"promises 18446744073709551615 bytes"}},
      {"bytes behind the data", reads(good + "x"), {"goes on past offset 28"}},
      {"packed: bytes behind the data", reads(gzip(good + "x")), {"goes on past offset 28"}},
      {"packed: bytes behind the packed data",
       reads(gzip(good) + "x"),
       {dir / "f", "goes on behind the gzip data"}},
      {"packed: zeros behind the packed data",
       reads(gzip(good) + std::string(512, '\0')),
       {"goes on behind the gzip data"}},
      {"packed: two streams",
       reads(gzip(good.substr(0, 20)) + gzip(good.substr(20))),
       {"goes on behind the gzip data"}},
      {"packed: data cut", reads(gzip(good).substr(0, 20)), {"truncated gzip data"}},
      {"packed: checksum cut", reads(gzip(good).substr(0, gzip(good).size() - 3)), {"truncated gzip data"}},
      {"packed: only the magic number", reads(gzip(good).substr(0, 2)), {dir / "f", "gzip data"}},
      {"packed: a flipped bit", reads(bad_data), {"damaged gzip data"}},
      {"packed: wrong checksum", reads(bad_sum), {"damaged gzip data", "incorrect data check"}},
      {"packed: one image too few",
       reads(gzip(idx({3, 3, 2}, twelve))),
       {"truncated at offset 28", "12 are there"}},
      {"packed: 2^44 bytes promised", reads(gzip(idx({1u << 16, 1u << 14, 1u << 14}, twelve))), {"promises"}},
      {"more images than labels", pair(good, idx({1}, "\1")), {dir / "x", "2 images", dir / "y", "1 labels"}},
      {"a label of 10", pair(good, idx({2}, "\1\x0a")), {dir / "y", "label 1 is 10", "expected 0 to 9"}},
      {"files swapped", pair(labels, good), {dir / "x", "0x00000801"}},
  });
}

TEST_CASE("no cut and no flipped bit of an IDX file does harm") {
  const auto read = [](const std::string& path) { read_idx(path, 3); };
  damage(idx({2, 3, 2}, twelve), read);
  damage(gzip(idx({2, 3, 2}, twelve)), read);
}

TEST_CASE("a file without read permission is named") {
  if (geteuid() == 0) {
    MESSAGE("skipped: root may read everything");
    return;
  }
  const TempDir dir;
  const std::string path = dir.put("f", idx({2, 3, 2}, twelve));
  std::filesystem::permissions(path, std::filesystem::perms::none);
  check_error([&] { read_idx(path, 3); }, {path, "Permission denied"});
  check_error([&] { read_cifar10({path}); }, {path});
}

TEST_CASE("CIFAR-10 batches are joined in order, planes and labels in place") {
  const TempDir dir;
  const Dataset d =
      read_cifar10({dir.put("1.bin", record(3, 'a') + record(9, 'b')), dir.put("2.bin", record(0, 'c'))});
  CHECK(d.images.shape() == Shape{3, 3, 32, 32});
  CHECK(d.labels.to_vector<int64_t>() == std::vector<int64_t>{3, 9, 0});
  const Bytes pixels = d.images.to_vector<uint8_t>();
  CHECK(pixels == [] {
    Bytes expected;
    for (uint8_t fill : {uint8_t{'a'}, uint8_t{'b'}, uint8_t{'c'}})
      expected.insert(expected.end(), 3072, fill);
    return expected;
  }());
}

TEST_CASE("malformed CIFAR-10 batches get one line that says what is wrong and where") {
  const TempDir dir;
  const auto reads = [&](const std::string& content) {
    return [&dir, content] { read_cifar10({dir.put("b", content)}); };
  };
  check_all({
      {"empty", reads(""), {dir / "b", "0 bytes"}},
      {"missing", [&] { read_cifar10({dir / "none"}); }, {dir / "none", "No such file"}},
      {"a directory", [&] { read_cifar10({dir.str()}); }, {"is a directory"}},
      {"cut", reads((record(1, 'a') + record(2, 'b')).substr(0, 5000)), {"5000 bytes", "multiple of 3073"}},
      {"a label of 10", reads(record(1, 'a') + record(10, 'b')), {"label 10 at offset 3073", "0 to 9"}},
      {"a label of 255", reads(record('\xff', 'a')), {"label 255 at offset 0"}},
  });
}

TEST_CASE("PNG and JPEG files decode to planes") {
  const TempDir dir;
  const auto decode = [&](const std::string& content, int64_t channels) {
    const ImageFile file(dir.put("f", content));
    Bytes out(static_cast<size_t>(channels * file.header().height * file.header().width), 77);
    file.decode(channels, out.data());
    return out;
  };
  CHECK(decode(png(2, 3, 0, "abcdef"), 1) == Bytes{'a', 'b', 'c', 'd', 'e', 'f'});
  CHECK(decode(png(1, 2, 0, "ab"), 3) == Bytes{'a', 'b', 'a', 'b', 'a', 'b'});
  CHECK(decode(png(1, 2, 2, "abcdef"), 3) == Bytes{'a', 'd', 'b', 'e', 'c', 'f'});
  CHECK(decode(png(1, 2, 6, "abcXdefY"), 3) == Bytes{'a', 'd', 'b', 'e', 'c', 'f'});
  CHECK(decode(png(1, 2, 4, "aXbY"), 1) == Bytes{'a', 'b'});
  CHECK(ImageFile(dir.put("f", png(1, 2, 4, "aXbY"))).header().channels == 1);
  CHECK(decode(png(1, 8192, 0, std::string(8192, 'a')), 1) == Bytes(8192, 'a'));
  CHECK(decode(jpeg(false), 1) == Bytes(256, 128));
  CHECK(decode(jpeg_with_escapes(), 1) == [] {
    Bytes expected(256, 128);
    for (size_t i = 0; i < 64; ++i) expected[16 * (8 + i / 8) + 8 + i % 8] = 255;
    return expected;
  }());
  Bytes red(256, 184);
  red.insert(red.end(), 256, 99);
  red.insert(red.end(), 256, 128);
  CHECK(decode(jpeg(true), 3) == red);
}

TEST_CASE("malformed images get one line that says what is wrong and where") {
  using namespace std::string_literals;
  const TempDir dir;
  const auto reads = [&](const std::string& content) {
    return [&dir, content] {
      const ImageFile file(dir.put("f", content));
      Bytes out(static_cast<size_t>(3 * file.header().height * file.header().width));
      file.decode(3, out.data());
    };
  };
  const std::string good = png(2, 3, 0, "abcdef"), photo = jpeg(true);
  std::string flipped = good, no_frame = photo, symbols = photo, segment = photo, many = photo, cut = photo;
  many.insert(2, "\xff\xc4\x01\x14\0\xff\x02"s + std::string(14 + 257, '\0'));
  cut.insert(2, "\xff\xc4\0\x05\0\0\0"s);
  flipped[45] = static_cast<char>(flipped[45] ^ 4);
  symbols[photo.find("\xff\xc4") + 6] = '\xff';
  segment[4] = '\xff';
  no_frame.erase(photo.find("\xff\xc0"), 19);
  check_all({
      {"empty", reads(""), {dir / "f", "the file is empty"}},
      {"a directory", [&] { ImageFile file(dir.str()); }, {"is a directory"}},
      {"text", reads("not an image"), {"offset 0 holds neither a JPEG nor a PNG signature"}},
      {"another format", reads("GIF89a" + std::string(99, 'x')), {"neither a JPEG nor a PNG"}},
      {"PNG: only the signature", reads(good.substr(0, 8)), {"truncated PNG", "offset 8", "has 8 bytes"}},
      {"PNG: cut", reads(good.substr(0, 48)), {"chunk at offset 33 promises", "ends before"}},
      {"PNG: no end", reads(good.substr(0, good.size() - 12)), {"truncated PNG"}},
      {"PNG: bytes behind the end",
       reads(good + "x"),
       {dir / "f", "data goes on past offset", "the PNG ends"}},
      {"PNG: a flipped bit", reads(flipped), {"damaged PNG: the chunk at offset 33", "checksum"}},
      {"PNG: garbage for pixels", reads(png_file(2, 3, 0, "garbage")), {"damaged image"}},
      {"PNG: too few pixels", reads(png_file(9, 3, 0, good.substr(41, 14))), {"damaged image"}},
      {"PNG: 8000x8000 promised", reads(png_file(8000, 8000, 2, "xx")), {"promises 8000x8000 pixels"}},
      {"PNG: 8193 wide",
       reads(png(1, 8193, 0, std::string(8193, 'a'))),
       {"8193x1 pixels, at most 8192 a side are accepted"}},
      {"PNG: 8193 high",
       reads(png(8193, 1, 0, std::string(8193, 'a'))),
       {"1x8193 pixels, at most 8192 a side are accepted"}},
      {"PNG: 2^31 wide", reads(png_file(1, 1u << 31, 2, "xx")), {"unreadable image header"}},
      {"PNG: no pixels", reads(png_file(0, 0, 2, "xx")), {"unreadable image header"}},
      {"JPEG: cut", reads(photo.substr(0, photo.size() - 3)), {"truncated JPEG", "no end marker"}},
      {"JPEG: 300 symbols in a table",
       reads(symbols),
       {"damaged JPEG: the Huffman table at offset", "symbols"}},
      {"JPEG: 257 symbols in a table", reads(many), {"the Huffman table at offset 6 promises 257 symbols"}},
      {"JPEG: a table of 3 bytes", reads(cut), {"the Huffman table at offset 6 is cut"}},
      {"JPEG: a segment that is too long", reads(segment), {"the segment at offset 2 promises 65347 bytes"}},
      {"JPEG: no frame", reads(no_frame), {"unreadable image header"}},
      {"JPEG: only two markers", reads("\xff\xd8\xff\xd9"), {"unreadable image header"}},
  });
}

TEST_CASE("no cut and no flipped bit of an image does harm") {
  const auto read = [](const std::string& path) {
    const ImageFile file(path);
    Bytes out(static_cast<size_t>(3 * file.header().height * file.header().width));
    file.decode(3, out.data());
  };
  damage(png(2, 3, 2, "abcdefghijklmnopqr"), read);
  damage(jpeg(false), read);
  damage(jpeg(true), read);
}

TEST_CASE("an image folder alternates between its classes, and one colour file makes all of them colour") {
  const TempDir dir;
  dir.put("b/1.png", png(1, 2, 0, "cd"));
  dir.put("b/2.PNG", png(1, 2, 0, "ef"));
  dir.put("a/9.png", png(1, 2, 0, "ab"));
  dir.put("a/notes.txt", "left alone");
  dir.put("a/.hidden.png", "left alone");
  const Dataset gray = read_image_folder(dir.str());
  CHECK(gray.images.shape() == Shape{3, 1, 1, 2});
  CHECK(gray.images.to_vector<uint8_t>() == Bytes{'a', 'b', 'c', 'd', 'e', 'f'});
  CHECK(gray.labels.to_vector<int64_t>() == std::vector<int64_t>{0, 1, 1});
  CHECK(gray.class_names == std::vector<std::string>{"a", "b"});

  dir.put("classes.txt", "b\tsecond letter\n\na first letter\n");
  dir.put("b/3.png", png(1, 2, 2, "uvwxyz"));
  const Dataset colour = read_image_folder(dir.str());
  CHECK(colour.class_names == std::vector<std::string>{"b", "a"});
  CHECK(colour.images.shape() == Shape{4, 3, 1, 2});
  CHECK(colour.labels.to_vector<int64_t>() == std::vector<int64_t>{0, 1, 0, 0});
  CHECK(colour.select({1, 3}).images.to_vector<uint8_t>() ==
        Bytes{'a', 'b', 'a', 'b', 'a', 'b', 'u', 'x', 'v', 'y', 'w', 'z'});
  dir.put("b/4.png", png(1, 2, 0, "gh"));  // grey once more behind the colour
  CHECK(read_image_folder(dir.str()).images.shape() == Shape{5, 3, 1, 2});
}

TEST_CASE("classes.txt above the class folders is found however the folder's name ends") {
  const TempDir dir;
  dir.put("set/a/1.png", png(2, 1, 0, "ab"));
  dir.put("set/b/1.png", png(2, 1, 0, "cd"));
  dir.put("classes.txt", "b\na\n");
  for (const std::string end : {"", "/", "//", "/.", "/./", "/a/.."})
    CHECK(read_image_folder(dir.str() + "/set" + end).class_names == std::vector<std::string>{"b", "a"});
  dir.put("set/classes.txt", "a\nb\n");  // nearer
  CHECK(read_image_folder(dir / "set").class_names == std::vector<std::string>{"a", "b"});
}

TEST_CASE("images of several sizes are scaled to the size asked for") {
  const TempDir dir;
  dir.put("a/1.png", png(2, 2, 0, "dddd"));
  dir.put("a/2.png", png(4, 8, 0, std::string(32, 'x')));
  const Dataset d = read_image_folder(dir.str(), {2, 2});
  CHECK(d.images.to_vector<uint8_t>() == Bytes{'d', 'd', 'd', 'd', 'x', 'x', 'x', 'x'});
  // White at the left in the first plane, at the right in the second; the third is even.
  const std::string left{'\xff', '\0', 'd'}, right{'\0', '\xff', 'd'}, row = left + left + right + right;
  dir.put("colour/a/1.jpeg", png(2, 4, 2, row + row));
  const Bytes scaled = read_image_folder(dir / "colour", {2, 2}).images.to_vector<uint8_t>();
  for (const size_t y : {0, 2}) {
    CHECK(scaled[y] > scaled[y + 1] + 100);
    CHECK(scaled[4 + y + 1] > scaled[4 + y] + 100);
    CHECK(scaled[8 + y] == 'd');
    CHECK(scaled[8 + y + 1] == 'd');
  }
}

TEST_CASE("malformed image folders get one line that says what is wrong") {
  const TempDir dir;
  const std::string one = png(2, 2, 0, "abcd");
  dir.put("bare/file.png", one);
  dir.put("hollow/a/notes.txt", "");
  dir.put("sizes/a/1.png", one);
  dir.put("sizes/a/2.png", png(3, 2, 0, "abcdef"));
  dir.put("broken/a/1.png", one);
  dir.put("broken/a/2.png", one.substr(0, 50));
  dir.put("listed/a/1.png", one);
  dir.put("listed/b/1.png", one);
  const auto reads = [&](const std::string& name) { return [&dir, name] { read_image_folder(dir / name); }; };
  const auto listing = [&](const std::string& classes) {
    return [&dir, classes] {
      dir.put("listed/classes.txt", classes);
      read_image_folder(dir / "listed");
    };
  };
  check_all({
      {"missing", reads("none"), {dir / "none", "No such file"}},
      {"a file", reads("bare/file.png"), {"Not a directory", "a folder of images is expected"}},
      {"no class folders", reads("bare"), {dir / "bare", "has no folders, one per class"}},
      {"a class without images", reads("hollow"), {dir / "hollow/a", "holds no .png"}},
      {"two sizes", reads("sizes"), {dir / "sizes/a/2.png", "3x2", dir / "sizes/a/1.png", "2x2"}},
      {"a broken image", reads("broken"), {dir / "broken/a/2.png", "ends before"}},
      {"half a size",
       [&] {
         read_image_folder(dir / "sizes", {3, 0});
       },
       {"resize: 3x0"}},
      {"a folder that is not listed", listing("a\n"), {"folder 'b' is named 0 times in classes.txt"}},
      {"a folder listed twice", listing("a\nb\na\n"), {"folder 'a' is named 2 times"}},
      {"a class without folder", listing("a\nb\nc\n"), {"has no folder 'c' of classes.txt"}},
      {"an empty list", listing(" \n"), {"classes.txt", "lists no class"}},
  });
}

TEST_CASE("a safetensors file keeps its element type, and may lack labels") {
  const TempDir dir;
  const std::string path = dir / "d.safetensors";
  const Tensor y = Tensor::of<int64_t>({4, 1}, {2});
  for (DType type : {DType::float32, DType::float64, DType::uint8}) {
    const Tensor x = Tensor::full({2, 1, 3, 3}, 1, type);
    write_archive(path, batch(x, y));
    const Dataset d = read_tensor_file(path);
    CHECK(identical(d.images, x));
    CHECK(d.classes == 5);
    CHECK(d.images_float(0, 1).to_vector<float>()[0] == (type == DType::uint8 ? 1.0f / 255.0f : 1.0f));
  }
  write_archive(path, {{{"x", Tensor::zeros({2, 1, 3, 3})}}, {}});
  CHECK_FALSE(read_tensor_file(path).labelled());
  write_archive(path, {{{"x", Tensor::zeros({2, 1, 3, 3})}, {"y", y}}, {{"classes", "10"}}});
  CHECK(read_tensor_file(path).classes == 10);
}

TEST_CASE("malformed tensors get one line that names the first offender") {
  const TempDir dir;
  const std::string path = dir / "d.safetensors";
  const auto reads = [&](Archive archive) {
    return [path, archive = std::move(archive)] {
      write_archive(path, archive);
      read_tensor_file(path);
    };
  };
  const auto pixel = [](double value, DType type) {
    Tensor x = Tensor::zeros({2, 3, 4, 5}, type);
    x.slice(0, 1, 2).slice(1, 2, 3).slice(2, 3, 4).slice(3, 1, 2).fill(value);
    return x;
  };
  const Tensor x = Tensor::zeros({2, 3, 4, 5}), y = Tensor::of<int64_t>({0, 1}, {2});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Archive ten = batch(x, Tensor::of<int64_t>({0, 10}, {2}));
  ten.metadata["classes"] = "10";
  const auto classes = [&](const char* text) {
    Archive archive = batch(x, y);
    archive.metadata["classes"] = text;
    return reads(archive);
  };
  check_all({
      {"not a safetensors file", [&] { read_tensor_file(dir.put("t", "hello")); }, {dir / "t"}},
      {"no x", reads({{{"y", y}}, {}}), {path, "'x'"}},
      {"three axes", reads(batch(Tensor::zeros({2, 4, 5}), y)), {path, "[2,4,5]", "[N,C,H,W]"}},
      {"no images", reads(batch(Tensor::zeros({0, 3, 4, 5}), y)), {"[0,3,4,5]", "without empty axes"}},
      {"int64 images", reads(batch(Tensor::zeros({2, 1, 1, 1}, DType::int64), y)), {"images are int64"}},
      {"NaN",
       reads(batch(pixel(nan, DType::float32), y)),
       {"of image 1 (channel 2, row 3, column 1) is nan"}},
      {"above 1", reads(batch(pixel(1.5, DType::float64), y)), {"pixel 116 of image 1", "1.5", "[0, 1]"}},
      {"below 0", reads(batch(pixel(-1e-3, DType::float32), y)), {"pixel 116 of image 1", "-0.001"}},
      {"infinite", reads(batch(pixel(INFINITY, DType::float32), y)), {"is inf"}},
      {"float labels", reads(batch(x, Tensor::zeros({2}))), {"labels are float32, int64 is expected"}},
      {"too few labels", reads(batch(x, Tensor::of<int64_t>({0}, {1}))), {"shape [1], expected [2]"}},
      {"labels as a column",
       reads(batch(x, Tensor::of<int64_t>({0, 1}, {2, 1}))),
       {"shape [2,1], expected [2]"}},
      {"a label of -1", reads(batch(x, Tensor::of<int64_t>({0, -1}, {2}))), {"label 1 is -1"}},
      {"a label of 2^63-1",
       reads(batch(x, Tensor::of<int64_t>({0, INT64_MAX}, {2}))),
       {"label 1 is 9223372036854"}},
      {"a label of a million",
       reads(batch(x, Tensor::of<int64_t>({0, 1'000'000}, {2}))),
       {"label 1 is 1000000, expected 0 to 999999"}},
      {"more than the classes", reads(ten), {"label 1 is 10, expected 0 to 9"}},
      {"classes are not a number", classes("ten"), {"metadata 'classes' is 'ten'"}},
      {"more than a number", classes("10x"), {"metadata 'classes' is '10x', a number from 1 to 1000000"}},
      {"no classes", classes("0"), {"metadata 'classes' is '0'"}},
      {"too many classes", classes("1000001"), {"metadata 'classes' is '1000001'"}},
  });
}
