// Archives and files: what is written is read back, what is damaged is refused, what is there stays there.
#include "core/archive.h"

#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <doctest/doctest.h>
#include <filesystem>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/file.h"
#include "tests/datasets_testing.h"
#include "tests/error_of.h"

namespace {
std::vector<std::string>* disk_calls = nullptr;  // while a test looks at them
}

// They stand in front of the C library's.
extern "C" int fsync(int file) {
  struct stat s {};
  if (disk_calls && fstat(file, &s) == 0)
    disk_calls->push_back(S_ISDIR(s.st_mode) ? "fsync of a folder" : "fsync of a file");
  return static_cast<int>(syscall(SYS_fsync, file));
}
extern "C" int rename(const char* from, const char* to) noexcept {
  if (disk_calls) disk_calls->push_back("rename");
  return static_cast<int>(syscall(SYS_rename, from, to));
}

namespace hashgrad {
namespace {

using testing::TempDir;

/// A file with this header and this many bytes of data (0, 1, 2, ...); `size` lies about the header's size.
std::string file_of(const std::string& header, size_t data = 0, int64_t size = -1) {
  const uint64_t claimed = size < 0 ? header.size() : static_cast<uint64_t>(size);
  std::string bytes(reinterpret_cast<const char*>(&claimed), 8);
  bytes += header;
  for (size_t i = 0; i < data; ++i) bytes += static_cast<char>(i);
  return bytes;
}

/// One tensor "t" with these fields.
std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(R"({{"t":{{"dtype":"{}","shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
}

Tensor read_one(const std::string& dtype, const std::string& data, int64_t n) {
  const std::string header = tensor(dtype, fmt::format("[{}]", n), fmt::format("[0,{}]", data.size()));
  return parse_archive(file_of(header) + data, "test").at("t", "test");
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

TEST_CASE("an archive comes back as it was written") {
  Archive a;
  a.tensors["weight"] = Tensor::of<float>({1.5f, -0.0f, NAN, 1e-40f, INFINITY, 3}, {2, 3});
  a.tensors["double"] = Tensor::of<double>({M_PI}, {});
  a.tensors["labels"] = Tensor::of<int64_t>({-1, INT64_MAX, INT64_MIN}, {3});
  a.tensors["image"] = Tensor::of<uint8_t>({0, 255}, {2, 1});
  a.tensors["empty"] = Tensor::zeros({0, 5});
  a.tensors["name \"with\" \xc3\xa9"] = a.tensors["weight"].transpose(0, 1);
  a.metadata = {{"format", "test"}, {"note", "line\nbreak"}, {"", ""}};
  const std::string bytes = serialise_archive(a);
  const Archive b = parse_archive(bytes, "test");
  CHECK(b.metadata == a.metadata);
  REQUIRE(b.tensors.size() == a.tensors.size());
  for (const auto& [name, tensor] : a.tensors) CHECK(identical(b.at(name, "test"), tensor));
  CHECK(serialise_archive(b) == bytes);
  uint64_t header;
  std::memcpy(&header, bytes.data(), 8);
  CHECK((header + 8) % 64 == 0);
  CHECK(parse_archive(serialise_archive({}), "test").tensors.empty());
}

TEST_CASE("other producers' element types are converted") {
  using Ints = std::vector<int64_t>;
  CHECK(read_one("F16", bytes_of<uint16_t>({0x3c00, 0xc000, 0x0001, 0x7c00, 0x8000, 0x7bff}), 6)
            .to_vector<float>() == std::vector<float>{1, -2, 0x1p-24f, INFINITY, -0.0f, 65504});
  CHECK(std::isnan(read_one("F16", bytes_of<uint16_t>({0x7e00}), 1).item()));
  CHECK(read_one("F16", bytes_of<uint16_t>({0x8003}), 1).item() == -3 * 0x1p-24);
  CHECK(read_one("BF16", bytes_of<uint16_t>({0x3f80, 0xc049}), 2).to_vector<float>() ==
        std::vector<float>{1, -3.140625f});
  CHECK(read_one("I32", bytes_of<int32_t>({-7, INT32_MAX}), 2).to_vector<int64_t>() == Ints{-7, INT32_MAX});
  CHECK(read_one("I16", bytes_of<int16_t>({-7}), 1).to_vector<int64_t>() == Ints{-7});
  CHECK(read_one("I8", bytes_of<int8_t>({-7}), 1).to_vector<int64_t>() == Ints{-7});
  CHECK(read_one("U16", bytes_of<uint16_t>({65535}), 1).to_vector<int64_t>() == Ints{65535});
  CHECK(read_one("U32", bytes_of<uint32_t>({~0u}), 1).to_vector<int64_t>() == Ints{4294967295});
  CHECK(read_one("U64", bytes_of<uint64_t>({5}), 1).to_vector<int64_t>() == Ints{5});
  CHECK(read_one("BOOL", bytes_of<uint8_t>({0, 1}), 2).to_vector<int64_t>() == Ints{0, 1});
  CHECK(read_one("U64", bytes_of<uint64_t>({INT64_MAX}), 1).to_vector<int64_t>() == Ints{INT64_MAX});
  CHECK_ERROR(read_one("U64", bytes_of<uint64_t>({~0ull}), 1), "does not fit int64");
}

TEST_CASE("a header with spaces after it and unknown fields is accepted") {
  const std::string header = R"({"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"more":1}}     )";
  CHECK(parse_archive(file_of(header, 2), "test").at("t", "test").numel() == 2);
}

TEST_CASE("a tensor without elements begins where another one does") {
  const std::string header = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                             R"("z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})";
  CHECK(parse_archive(file_of(header, 2), "test").at("z", "test").numel() == 0);
}

TEST_CASE("brackets in strings are no nesting, and eight levels of it are accepted") {
  const auto with_more = [](const std::string& value) {
    return file_of(R"({"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"more":)" + value + "}}", 2);
  };
  CHECK(parse_archive(with_more(R"("[[[[[[[[[[\"[\\")"), "test").tensors.size() == 1);
  CHECK(parse_archive(with_more("[[[[[[1]]]]]]"), "test").tensors.size() == 1);
  CHECK_ERROR(parse_archive(with_more("[[[[[[[1]]]]]]]"), "test"), "nested too deeply");
}

TEST_CASE("a header of very many tensors is read") {  // for minutes, if the time were to grow with the square
  constexpr int64_t count = 100'000;
  std::string header;
  for (int64_t i = 0; i < count; ++i)
    header += fmt::format(R"({}"{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", i ? "," : "{", i);
  CHECK(parse_archive(file_of(header + "}"), "test").tensors.size() == count);
}

TEST_CASE("every kind of damage is an error with its own words") {
  struct Damage {
    std::string bytes, words;
  };
  const std::string good = tensor("F32", "[2]", "[0,8]");
  const Damage damages[] = {
      {"", "0 bytes are too few"},
      {"1234567", "7 bytes are too few"},
      {file_of(good, 7), "bytes 0 to 8 lie outside"},
      {file_of(good, 9), "9 bytes of data, the header accounts for 8"},
      {file_of(good, 8, 1'000'000), "header claims 1000000 bytes"},
      {file_of(good, 8, INT64_MAX), "header claims 9223372036854775807 bytes"},
      {std::string(8, '\xff') + good, "header claims 18446744073709551615 bytes"},
      {file_of(good, 8, 10), "not valid JSON"},
      {file_of(""), "not valid JSON"},
      {file_of("{"), "not valid JSON"},
      {file_of("{\"t\xff\":1}"), "not valid JSON"},
      {file_of("[1,2]"), "not a JSON object"},
      {file_of("3"), "not a JSON object"},
      {file_of(std::string(1'000'000, '[')), "nested too deeply"},
      {file_of(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
               R"("a":{"dtype":"I64","shape":[0],"data_offsets":[0,0]}})"),
       "the safetensors header names 'a' twice"},
      {file_of(R"({"__metadata__":{"spec":"1x1x2 flatten fc2","spec":"1x1x2 flatten fc3"}})"),
       "the safetensors header names 'spec' twice"},
      {file_of(R"({"t":1})"), "tensor 't' has no 'dtype'"},
      {file_of(R"({"t":{"shape":[1],"data_offsets":[0,4]}})", 4), "has no 'dtype'"},
      {file_of(R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", 4), "has no 'shape'"},
      {file_of(R"({"t":{"dtype":"F32","shape":[1]}})", 4), "has no 'data_offsets'"},
      {file_of(R"({"t":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4), "dtype is not a string"},
      {file_of(tensor("F8_E4M3", "[1]", "[0,1]"), 1), "dtype 'F8_E4M3' is not supported"},
      {file_of(tensor("F32", "2", "[0,8]"), 8), "shape is not a list"},
      {file_of(tensor("F32", "[-2]", "[0,8]"), 8), "shape is not a list"},
      {file_of(tensor("F32", "[2.0]", "[0,8]"), 8), "shape is not a list"},
      {file_of(tensor("F32", R"(["2"])", "[0,8]"), 8), "shape is not a list"},
      {file_of(tensor("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1), "at most 8 sizes"},
      {file_of(tensor("F32", "[18446744073709551615]", "[0,8]"), 8), "larger than the file"},
      {file_of(tensor("U8", "[4294967296,4294967296]", "[0,0]")), "larger than the file"},
      {file_of(tensor("U8", "[2000,2000,2000,2000]", "[0,2000]"), 2000), "more than 2^40 elements"},
      {file_of(tensor("F32", "[2]", "[0]"), 8), "not a pair of offsets"},
      {file_of(tensor("F32", "[2]", "[0,8,9]"), 8), "not a pair of offsets"},
      {file_of(tensor("F32", "[2]", "[-1,7]"), 8), "not a pair of offsets"},
      {file_of(tensor("F32", "[2]", "[8,0]"), 8), "bytes 8 to 0 lie outside"},
      {file_of(tensor("F32", "[2]", "[18446744073709551608,18446744073709551615]"), 8), "lie outside"},
      {file_of(tensor("F32", "[3]", "[0,8]"), 8), "[3] of F32 needs 12 bytes, the file holds 8"},
      {file_of(tensor("F32", "[1]", "[4,8]"), 8), "begins at byte 4, 0 expected"},
      {file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
               R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
               6),
       "tensor 'b' begins at byte 2, 4 expected"},
      {file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
               R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
               6),
       "tensor 'b' begins at byte 4, 2 expected"},
      {file_of(R"({"__metadata__":[]})"), "__metadata__ is not an object"},
      {file_of(R"({"__metadata__":{"a":1}})"), "metadata 'a' is not a string"},
  };
  for (const Damage& d : damages) {
    CAPTURE(d.words);
    CHECK_ERROR(parse_archive(d.bytes, "file.bin"), d.words);
    CHECK_ERROR(parse_archive(d.bytes, "file.bin"), "file.bin: ");
  }
}

TEST_CASE("no prefix and no flipped byte of a good archive crashes the reader") {
  Archive a;
  a.tensors["w"] = Tensor::of<float>({1, 2, 3}, {3});
  a.tensors["l"] = Tensor::of<int64_t>({1}, {});
  a.metadata = {{"k", "v"}};
  const std::string good = serialise_archive(a);
  for (size_t n = 0; n < good.size(); ++n) CHECK_ERROR(parse_archive(good.substr(0, n), "cut"), "cut: ");
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int flip : {1, 0x20, 0x80}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      const std::string message = testing::error_of([&] { parse_archive(bad, "flipped"); });
      CHECK((message == "(no error)" || message.starts_with("flipped: ")));
    }
  }
}

TEST_CASE("what cannot be written is refused by name") {
  Archive a;
  a.tensors["\xff"] = Tensor::zeros({1});
  CHECK_ERROR(serialise_archive(a), "not valid UTF-8");
  Archive odd_key;
  odd_key.metadata["\xff"] = "v";
  CHECK_ERROR(serialise_archive(odd_key), "not valid UTF-8");
  Archive b;
  b.tensors["__metadata__"] = Tensor::zeros({1});
  CHECK_ERROR(serialise_archive(b), "cannot be named __metadata__");
  CHECK_ERROR(a.at("nothing", "model.bin"), "model.bin: has no tensor 'nothing'");
}

TEST_CASE("metadata that are not UTF-8, such as a path, are recorded with replacement characters") {
  Archive a;
  a.metadata = {{"data", "d\xe9.safetensors"}, {"plain", "\xc3\xa9 \"\n"}};
  const Archive b = parse_archive(serialise_archive(a), "test");
  CHECK(b.metadata.at("data") == "d\xef\xbf\xbd.safetensors");
  CHECK(b.metadata.at("data") == as_recorded(a.metadata["data"]));
  CHECK(b.metadata.at("plain") == a.metadata["plain"]);
}

TEST_CASE("files that are not there or not files are named in the error") {
  const TempDir folder;
  CHECK_ERROR(read_archive(folder / "none"), "none: No such file");
  CHECK_ERROR(read_archive(folder / "."), "is a directory");
  CHECK_ERROR(read_file("/dev/null"), "is not a regular file");
  CHECK_ERROR(write_file(folder / "no/such/folder", "x"), "No such file");
  CHECK_ERROR(write_file("/dev/full", "x"), "not a regular file, nothing was written");
  CHECK_ERROR(write_file("", "x"), "file name is empty");
  write_file(folder / "file", "12345");
  CHECK(file_size(folder / "file") == 5);
  CHECK_ERROR(read_file(folder / "file", 4), "5 bytes, at most 4 are accepted");
  CHECK_ERROR(write_file(folder / "file/below", "x"), "Not a directory");
  if (geteuid() == 0) return;  // root may do everything
  std::filesystem::permissions(folder / "file", std::filesystem::perms::none);
  CHECK_ERROR(read_file(folder / "file"), "Permission denied");
}

TEST_CASE("a file is written at the end of its links, which stay") {
  namespace fs = std::filesystem;
  const TempDir folder;
  fs::create_directory(folder / "far");
  write_file(folder / "far/file", "old");
  fs::create_symlink("far/file", folder / "link");  // relative to where the link is
  fs::create_symlink(folder / "link", folder / "far/chain");
  fs::create_symlink("far/later", folder / "early");
  write_file(folder / "far/chain", "new");
  write_file(folder / "early", "made");
  for (const char* link : {"link", "far/chain", "early"}) CHECK(fs::is_symlink(folder / link));
  for (const char* file : {"far/file", "far/later"})
    CHECK(fs::is_regular_file(fs::symlink_status(folder / file)));
  CHECK(read_file(folder / "far/file") == "new");
  CHECK(read_file(folder / "far/later") == "made");
  CHECK(std::distance(fs::directory_iterator(folder / "far"), {}) == 3);

  fs::create_symlink("round", folder / "round");
  CHECK_ERROR(write_file(folder / "round", "x"),
              "round: cannot be written: Too many levels of symbolic links");
  fs::create_symlink("no/such/file", folder / "nowhere");
  CHECK_ERROR(write_file(folder / "nowhere", "x"), "nowhere: cannot be written: No such file or directory");
}

TEST_CASE("a link to an open file or a device is refused") {
  namespace fs = std::filesystem;
  const TempDir folder;
  write_file(folder / "open", "old");
  std::FILE* open = std::fopen((folder / "open").c_str(), "r");
  REQUIRE(open != nullptr);
  fs::create_symlink(fmt::format("/proc/self/fd/{}", fileno(open)), folder / "handle");
  fs::create_symlink("/dev/full", folder / "device");
  for (const char* link : {"handle", "device"}) {
    CHECK_ERROR(write_file(folder / link, "x"),
                std::string(link) + ": is not a regular file, nothing was written");
    CHECK(fs::is_symlink(folder / link));
  }
  std::fclose(open);
  CHECK(read_file(folder / "open") == "old");
}

TEST_CASE("a file is replaced whole or not at all") {
  const TempDir folder;
  const std::string path = folder / "model";
  write_file(path, "old");
  {
    AtomicFile half(path);
    half.write("new content, never committed");
    CHECK(read_file(path) == "old");
  }
  CHECK(read_file(path) == "old");
  {
    AtomicFile late(folder / "late");
    std::filesystem::create_directory(folder / "late");
    CHECK_ERROR(late.commit(), "late: cannot be written: Is a directory");
    std::filesystem::remove(folder / "late");
  }
  // A limit on file sizes fails like a full disk.
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 1000;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string message = testing::error_of([&] { write_file(path, std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  CHECK(message == path + ": cannot be written: File too large");
  CHECK(read_file(path) == "old");
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder / ".")) ++entries;
  CHECK(entries == 1);
  write_file(path, "new");
  CHECK(read_file(path) == "new");
}

TEST_CASE("content is on the disk before it has its name, and the name when the writing is done") {
  const TempDir folder;
  std::vector<std::string> calls;
  disk_calls = &calls;
  write_file(folder / "model", "content");
  disk_calls = nullptr;
  CHECK(calls == std::vector<std::string>{"fsync of a file", "rename", "fsync of a folder"});
}

TEST_CASE("a file keeps its permissions, whatever those of new files are") {
  namespace fs = std::filesystem;
  const TempDir folder;
  const std::string path = folder / "model";
  write_file(path, "old");
  const mode_t before = umask(0077);
  for (const auto wanted : {fs::perms{0600}, fs::perms{0664}}) {
    fs::permissions(path, wanted);
    write_file(path, "new");
    CHECK(fs::status(path).permissions() == wanted);
  }
  umask(before);
}

TEST_CASE("what another process writes beside a file is left alone") {
  namespace fs = std::filesystem;
  const TempDir folder;
  const std::string path = folder / "model";
  write_file(path, "old");
  std::string beside;
  {
    const AtomicFile file(path);
    for (const auto& entry : fs::directory_iterator(folder / "."))
      if (entry.path() != folder / "./model") beside = entry.path().string();
  }
  const size_t number = beside.rfind('-') + 1;  // of that one; this writing and the next have those behind it
  beside.replace(number, std::string::npos, std::to_string(std::stoi(beside.substr(number)) + 2));
  write_file(beside, "of another process");
  write_file(path, "new");
  CHECK(read_file(path) == "new");
  CHECK(read_file(beside) == "of another process");
}

TEST_CASE("write_archive and read_archive are a round trip through a file") {
  const TempDir folder;
  Archive a;
  a.tensors["x"] = Tensor::full({129}, 0.5);
  write_archive(folder / "a.safetensors", a);
  CHECK(identical(read_archive(folder / "a.safetensors").at("x", ""), a.tensors["x"]));
}

}  // namespace
}  // namespace hashgrad
