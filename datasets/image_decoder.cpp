#include "datasets/image_decoder.h"

#include <memory>
#include <string_view>
#include <zlib.h>

#define STBI_NO_STDIO
#include <stb/stb_image.h>

#include "core/error.h"
#include "core/file.h"

namespace hashgrad {
namespace {

constexpr int64_t largest_file = int64_t{256} << 20;
constexpr int64_t largest_side = 8192;
/// Above what PNG's deflate (1032) and JPEG's end-of-block runs reach.
constexpr int64_t pixels_per_byte = 2048;
constexpr std::string_view jpeg_start = "\xff\xd8\xff";
constexpr std::string_view png_start = "\x89PNG\r\n\x1a\n";

const stbi_uc* as_stb(const std::string& bytes) { return reinterpret_cast<const stbi_uc*>(bytes.data()); }

uint32_t big_endian(const char* p) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(p[i]);
  return value;
}

/// Walks a PNG's chunks: each must lie within the file and match its checksum, up to and with IEND, behind
/// which nothing may follow.
void check_png(const std::string& bytes, const std::string& path) {
  constexpr size_t around = 12;  // length and type before a chunk's data, checksum behind it
  for (size_t at = png_start.size();;) {
    check(at + around <= bytes.size(),
          "{}: truncated PNG: a chunk is expected at offset {}, the file has {} bytes", path, at,
          bytes.size());
    const uint32_t length = big_endian(&bytes[at]);
    check(length <= bytes.size() - at - around,
          "{}: the PNG chunk at offset {} promises {} bytes, the file ends before", path, at, length);
    const auto* checked = reinterpret_cast<const Bytef*>(&bytes[at + 4]);
    check(crc32(0, checked, length + 4) == big_endian(&bytes[at + 8 + length]),
          "{}: damaged PNG: the chunk at offset {} does not match its checksum", path, at);
    const size_t next = at + around + length;
    if (bytes.compare(at + 4, 4, "IEND") == 0)
      return check(next == bytes.size(), "{}: data goes on past offset {}, where the PNG ends", path, next);
    at = next;
  }
}

/// Huffman tables within [at, end): each is 1 + 16 bytes, the 16 counting its symbols, which follow.
void check_huffman_tables(const std::string& bytes, size_t at, size_t end, const std::string& path) {
  constexpr size_t counts = 17, most_symbols = 256;
  while (at < end) {
    check(end - at >= counts, "{}: damaged JPEG: the Huffman table at offset {} is cut", path, at);
    size_t symbols = 0;
    for (size_t i = 1; i < counts; ++i) symbols += static_cast<uint8_t>(bytes[at + i]);
    check(symbols <= most_symbols && symbols <= end - at - counts,
          "{}: damaged JPEG: the Huffman table at offset {} promises {} symbols", path, at, symbols);
    at += counts + symbols;
  }
}

/// Walks a JPEG's segments up to its end marker. The format has no checksum, stb_image would fill the rest of
/// a cut file with gray, and it trusts the sizes of Huffman tables.
void check_jpeg(const std::string& bytes, const std::string& path) {
  constexpr uint8_t huffman = 0xc4, first_restart = 0xd0, last_restart = 0xd7, end_of_image = 0xd9,
                    filler = 0xff;
  for (size_t at = jpeg_start.size() - 1;;) {
    at = bytes.find('\xff', at);
    check(at < bytes.size() - 1, "{}: truncated JPEG: no end marker in {} bytes", path, bytes.size());
    const uint8_t marker = static_cast<uint8_t>(bytes[++at]);
    if (marker == end_of_image) return;
    if (marker == 0 || marker == filler || (first_restart <= marker && marker <= last_restart)) continue;
    check(at + 2 < bytes.size(), "{}: truncated JPEG: segment at offset {}", path, at - 1);
    const size_t length =
        static_cast<size_t>(static_cast<uint8_t>(bytes[at + 1]) << 8 | static_cast<uint8_t>(bytes[at + 2]));
    check(2 <= length && length < bytes.size() - at,
          "{}: truncated JPEG: the segment at offset {} promises {} bytes", path, at - 1, length);
    if (marker == huffman) check_huffman_tables(bytes, at + 3, at + 1 + length, path);
    at += 1 + length;
  }
}

}  // namespace

ImageFile::ImageFile(const std::string& path) : path_(path), bytes_(read_file(path, largest_file)) {
  check(!bytes_.empty(), "{}: the file is empty, a JPEG or PNG image is expected", path);
  if (bytes_.starts_with(png_start)) {
    check_png(bytes_, path);
  } else {
    check(bytes_.starts_with(jpeg_start), "{}: offset 0 holds neither a JPEG nor a PNG signature", path);
    check_jpeg(bytes_, path);
  }
  int width = 0, height = 0, components = 0;
  if (!stbi_info_from_memory(as_stb(bytes_), static_cast<int>(bytes_.size()), &width, &height, &components))
    fail("{}: unreadable image header ({})", path, stbi_failure_reason());
  header_ = {height, width, components >= 3 ? 3 : 1};
  check(0 < width && width <= largest_side && 0 < height && height <= largest_side,
        "{}: {}x{} pixels, at most {} a side are accepted", path, width, height, largest_side);
  const int64_t size = static_cast<int64_t>(bytes_.size());
  check(header_.width * header_.height <= pixels_per_byte * size,
        "{}: the header promises {}x{} pixels, more than {} bytes can hold", path, width, height, size);
}

void ImageFile::decode(int64_t channels, uint8_t* out) const {
  int width = 0, height = 0, components = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(as_stb(bytes_), static_cast<int>(bytes_.size()), &width, &height, &components,
                            static_cast<int>(channels)),
      stbi_image_free);
  if (!pixels) fail("{}: damaged image ({})", path_, stbi_failure_reason());
  check(width == header_.width && height == header_.height, "{}: decodes to {}x{}, the header said {}x{}",
        path_, width, height, header_.width, header_.height);
  const int64_t area = header_.width * header_.height;
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < area; ++i) *out++ = pixels.get()[i * channels + c];
}

}  // namespace hashgrad
