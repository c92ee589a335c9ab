// Reading whole files and replacing files atomically.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hashgrad {

/// Size of a regular file in bytes. Missing, unreadable, or a directory: an Error that names the path and the
/// reason.
int64_t file_size(const std::string& path);

/// The whole file; refuses more than `limit` bytes.
std::string read_file(const std::string& path, int64_t limit = int64_t{1} << 40);

/// Collects bytes for a file that appears under its name only when complete: writes go to a temporary file
/// beside it, which commit() flushes to disk and renames. Destroyed without commit(), it leaves nothing
/// behind. A symbolic link stays, and the file that it leads to is written. What is there and no regular file
/// is refused, and so are the links of /proc to open files (/dev/stdout).
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// A full disk or any other failure is an Error that names the path.
  void write(const void* bytes, size_t count);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  std::string path_, target_, temporary_;  // as given, without links, being written
  int fd_ = -1;
};

/// AtomicFile for content that is at hand.
void write_file(const std::string& path, std::string_view content);

}  // namespace hashgrad
