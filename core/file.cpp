#include "core/file.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/error.h"

namespace hashgrad {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

/// Flushes the directory entry too, so that a rename survives a power cut.
void sync_parent(const std::string& path) {
  const Descriptor d{::open(parent_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (d.fd >= 0) ::fsync(d.fd);
}

/// Links there stand for open files, as behind /dev/stdout, whatever name they show.
bool in_proc(const std::string& path) {
  struct statfs s {};
  return ::statfs(parent_of(path).c_str(), &s) == 0 && s.f_type == PROC_SUPER_MAGIC;
}

/// The name at the end of the symbolic links, if `path` is one, whether or not a file is there yet.
std::string behind_links(const std::string& path) {
  std::filesystem::path name = path;
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(name, error); ++links) {
    check(!in_proc(name), "{}: is not a regular file, nothing was written", path);
    check(links < 40, "{}: cannot be written: {}", path, std::strerror(ELOOP));
    const std::filesystem::path next = std::filesystem::read_symlink(name, error);
    if (error) fail("{}: cannot be written: {}", path, error.message());
    name = name.parent_path() / next;
  }
  return name;
}

}  // namespace

int64_t file_size(const std::string& path) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0) fail("{}: {}", path, std::strerror(errno));
  check(!S_ISDIR(s.st_mode), "{}: is a directory, a file is expected", path);
  check(S_ISREG(s.st_mode), "{}: is not a regular file", path);
  return s.st_size;
}

std::string read_file(const std::string& path, int64_t limit) {
  const int64_t size = file_size(path);
  check(size <= limit, "{}: {} bytes, at most {} are accepted", path, size, limit);
  const Descriptor d{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (d.fd < 0) fail("{}: {}", path, std::strerror(errno));
  std::string content(static_cast<size_t>(size), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::read(d.fd, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: {}", path, std::strerror(errno));
    check(n > 0, "{}: ended after {} of {} bytes while being read", path, done, size);
    done += static_cast<size_t>(n);
  }
  return content;
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  check(!path.empty(), "output: the file name is empty");
  target_ = behind_links(path);
  struct stat s {};
  const bool exists = ::stat(target_.c_str(), &s) == 0;
  check(!exists || S_ISREG(s.st_mode), "{}: is not a regular file, nothing was written", path);
  static std::atomic<int> counter{0};
  do {  // until a name is free: a process of this number may have been killed, in containers above all
    temporary_ = fmt::format("{}.tmp-{}-{}", target_, ::getpid(), counter++);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                 exists ? (s.st_mode & 0777) : 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) fail("{}: cannot be written: {}", path, std::strerror(errno));
  if (exists) ::fchmod(fd_, s.st_mode & 0777);  // open() leaves out what the umask forbids to new files
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* bytes, size_t count) {
  const char* p = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t n = ::write(fd_, p, count);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: cannot be written: {}", path_, std::strerror(errno));
    p += n;
    count -= static_cast<size_t>(n);
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) fail("{}: cannot be written: {}", path_, std::strerror(errno));
  const int fd = fd_;
  fd_ = -1;
  const bool closed = ::close(fd) == 0;
  if (!closed || ::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary_.c_str());
    fail("{}: cannot be written: {}", path_, std::strerror(reason));
  }
  sync_parent(target_);
}

void write_file(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

}  // namespace hashgrad
