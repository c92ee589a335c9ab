#include "datasets/byte_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <zlib.h>

#include "core/error.h"
#include "core/file.h"

namespace hashgrad {
namespace {

constexpr uint64_t gzip_ratio = 1032;  // deflate spends at least two bits on 258 bytes
constexpr size_t longest_read = size_t{1} << 30;

}  // namespace

void ByteReader::Close::operator()(void* file) const { gzclose_r(static_cast<gzFile>(file)); }

ByteReader::ByteReader(const std::string& path) : name_(path) {
  const uint64_t size = static_cast<uint64_t>(file_size(path));
  check(size > 0, "{}: the file is empty", name_);
  errno = 0;
  file_.reset(gzopen(path.c_str(), "rb"));
  if (!file_) fail("{}: {}", name_, errno != 0 ? std::strerror(errno) : "out of memory");
  gzFile file = static_cast<gzFile>(file_.get());
  gzbuffer(file, 1u << 17);
  limit_ = gzdirect(file) ? size : size * gzip_ratio;
}

size_t ByteReader::read_some(void* out, size_t n) {
  gzFile file = static_cast<gzFile>(file_.get());
  const int got = gzread(file, out, static_cast<unsigned>(std::min(n, longest_read)));
  int code = Z_OK;
  const char* text = gzerror(file, &code);
  if (code == Z_ERRNO) fail("{}: reading failed at offset {}: {}", name_, offset_, std::strerror(errno));
  // A gzip stream that just stops is Z_BUF_ERROR: what came out before counts, and the next read gets
  // nothing.
  if (got < 0 || (code != Z_OK && code != Z_BUF_ERROR))
    fail("{}: damaged gzip data near offset {} ({})", name_, offset_, text);
  check(got > 0 || code != Z_BUF_ERROR, "{}: truncated gzip data after offset {}", name_, offset_);
  return static_cast<size_t>(got);
}

void ByteReader::read(void* out, size_t n, const char* what) {
  char* to = static_cast<char*>(out);
  for (size_t done = 0; done < n;) {
    const size_t got = read_some(to + done, n - done);
    check(got > 0, "{}: truncated at offset {}: {} need {} bytes, {} are there", name_, offset_, what, n,
          done);
    done += got;
    offset_ += got;
  }
}

uint32_t ByteReader::read_u32(const char* what) {
  std::array<uint8_t, 4> b{};
  read(b.data(), b.size(), what);
  return uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | uint32_t{b[3]};
}

void ByteReader::expect_room_for(uint64_t n, const char* what) const {
  const uint64_t room = limit_ - std::min(limit_, offset_);
  check(n <= room, "{}: the header promises {} bytes of {} from offset {}, the file can hold {} at most",
        name_, n, what, offset_, room);
}

void ByteReader::expect_end() {
  uint8_t extra = 0;
  check(read_some(&extra, 1) == 0, "{}: data goes on past offset {}, where it should end", name_, offset_);
  if (gzdirect(static_cast<gzFile>(file_.get()))) return;
  // zlib ignores what it does not take for gzip behind a stream. The last four bytes of the only stream are
  // the size of what it unpacks to, little-endian.
  const std::string packed = read_file(name_);
  uint32_t size = 0;
  for (size_t i = 0; i < 4; ++i)
    size |= uint32_t{static_cast<uint8_t>(packed[packed.size() - 4 + i])} << 8 * i;
  check(size == static_cast<uint32_t>(offset_), "{}: data goes on behind the gzip data, where it should end",
        name_);
}

}  // namespace hashgrad
