// Small files to feed the dataset readers with.
#pragma once

#include <cstdint>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>
#include <zlib.h>

#include "core/error.h"
#include "tests/temp_dir.h"

namespace hashgrad::testing {

inline std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 255);
  return bytes;
}

/// An IDX file of bytes: magic number, sizes, then data as given (whatever the sizes say).
inline std::string idx(const std::vector<uint32_t>& sizes, const std::string& data) {
  std::string bytes = big_endian(0x800 + static_cast<uint32_t>(sizes.size()));
  for (uint32_t size : sizes) bytes += big_endian(size);
  return bytes + data;
}

inline std::string gzip(const std::string& content) {
  std::string packed(content.size() + 1024, '\0');
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

inline std::string png_chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const uLong sum = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(static_cast<uint32_t>(data.size())) + body + big_endian(static_cast<uint32_t>(sum));
}

/// A PNG file with this packed pixel stream; `colour` 0 is gray, 2 RGB, 4 gray and alpha, 6 RGB and alpha.
inline std::string png_file(uint32_t height, uint32_t width, char colour, const std::string& packed) {
  const std::string header = big_endian(width) + big_endian(height) + std::string{8, colour, 0, 0, 0};
  return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + png_chunk("IDAT", packed) + png_chunk("IEND", "");
}

/// A PNG of these interleaved samples.
inline std::string png(uint32_t height, uint32_t width, char colour, const std::string& samples) {
  const size_t row = samples.size() / height;
  std::string lines;
  for (size_t y = 0; y < height; ++y)
    lines += '\0' + samples.substr(y * row, row);  // filter type 0, then the row
  std::string packed(compressBound(lines.size()), '\0');
  uLongf size = packed.size();
  REQUIRE(compress(reinterpret_cast<Bytef*>(packed.data()), &size,
                   reinterpret_cast<const Bytef*>(lines.data()), lines.size()) == Z_OK);
  return png_file(height, width, colour, packed.substr(0, size));
}

/// A baseline JPEG of 16x16 pixels: gray (value 128), or colour with 4:2:0 subsampling, where Cr is 128 + 40
/// and so every pixel is (184, 99, 128). Quantisation is by 8; the codes are 0 for "zero" (DC) and for the
/// end of a block (AC), and 10 for a DC difference of six bits.
inline std::string jpeg(bool colour) {
  using namespace std::string_literals;
  const std::string start = "\xff\xd8"s;
  const std::string quantisation = "\xff\xdb\0\x43\0"s + std::string(64, '\x08');
  const std::string frame = colour ? "\xff\xc0\0\x11\x08\0\x10\0\x10\x03\x01\x22\0\x02\x11\0\x03\x11\0"s
                                   : "\xff\xc0\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0"s;
  const std::string dc_codes = "\xff\xc4\0\x15\0\x01\x01"s + std::string(14, '\0') + "\0\x06"s;
  const std::string ac_codes = "\xff\xc4\0\x14\x10\x01"s + std::string(15, '\0') + "\0"s;
  const std::string scan = colour ? "\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0\0\x2a\x1f"s
                                  : "\xff\xda\0\x08\x01\x01\0\0\x3f\0\0"s;
  return start + quantisation + frame + dc_codes + ac_codes + scan + "\xff\xd9"s;
}

/// The message of the Error that `f` throws; a failed check if it throws none.
template <class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  FAIL_CHECK("no error was thrown");
  return {};
}

/// Checks that `f` throws one line in which all the phrases stand.
template <class F>
void check_error(const F& f, const std::vector<std::string>& phrases) {
  const std::string message = message_of(f);
  CAPTURE(message);
  CHECK(message.find('\n') == std::string::npos);
  for (const std::string& phrase : phrases) {
    CAPTURE(phrase);
    CHECK(message.find(phrase) != std::string::npos);
  }
}

}  // namespace hashgrad::testing
