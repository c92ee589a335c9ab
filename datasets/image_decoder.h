// JPEG and PNG files as bytes, by stb_image, with the checks that it leaves out.
#pragma once

#include <cstdint>
#include <string>

namespace hashgrad {

/// What an image file says of itself.
struct ImageHeader {
  int64_t height = 0, width = 0;
  int64_t channels = 0;  ///< 1 (gray) or 3; an alpha channel is not counted
};

/// A JPEG or PNG file in memory, its header checked: neither side above 8192 pixels, and no more pixels than
/// a file of this size can hold.
class ImageFile {
 public:
  explicit ImageFile(const std::string& path);
  const ImageHeader& header() const { return header_; }
  /// Decodes into `out`, planar [channels, height, width]; gray is repeated to fill three channels. A
  /// truncated or damaged file is an Error, as far as its format lets one know.
  void decode(int64_t channels, uint8_t* out) const;

 private:
  std::string path_;
  std::string bytes_;
  ImageHeader header_;
};

}  // namespace hashgrad
