// Sequential reading of a plain or gzip file that says exactly where and why it stopped.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace hashgrad {

/// A file opened for reading from its first byte; gzip is recognised by its magic number, not by its name.
/// Offsets in messages count unpacked bytes. All failures are Errors that start with the file's name.
class ByteReader {
 public:
  explicit ByteReader(const std::string& path);

  /// Fills `out` with the next n bytes; `what` names them in the message should the file end before.
  void read(void* out, size_t n, const char* what);
  /// The next four bytes as a big-endian number.
  uint32_t read_u32(const char* what);
  /// Throws unless at least n more bytes can be there, judged by the size on disk (times what gzip can
  /// shrink at most): call it before allocating what a header promises.
  void expect_room_for(uint64_t n, const char* what) const;
  /// Throws if anything follows, packed or (a second gzip stream included) behind it. Also verifies a gzip
  /// file's checksum, which lies behind the data.
  void expect_end();

  const std::string& name() const { return name_; }
  uint64_t offset() const { return offset_; }

 private:
  size_t read_some(void* out, size_t n);

  struct Close {
    void operator()(void* file) const;
  };
  std::string name_;
  std::unique_ptr<void, Close> file_;
  uint64_t limit_ = 0;  // no more than this many bytes can come out
  uint64_t offset_ = 0;
};

}  // namespace hashgrad
