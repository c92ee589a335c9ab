// What the three directions of a convolution share: where outputs and taps lie in a padded image, and how an
// image or a gradient gets there.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/channel_kernels.h"
#include "cpu/conv2d.h"
#include "cpu/kernels.h"

namespace hashgrad::cpu {

/// The rows of a padded image. Dealt into as many phases as the convolution has strides, columns lie by their
/// remainder: 0, 2, 4, ..., then 1, 3, 5, ... for two. Neighbouring outputs then read neighbouring numbers.
struct PaddedRows {
  PaddedRows(const Conv2dShape& shape, int64_t dealt_into);
  int64_t height, width, phases;  // width: a multiple of phases
  int64_t column(int64_t x) const { return x % phases * (width / phases) + x / phases; }
};

/// Brings a plane [height, width] between borders that are zero already, columns dealt into rows.phases; the
/// rows and columns that a small kernel steps over may be left as they are.
template <class T>
void deal_plane(const Conv2dShape& shape, const PaddedRows& rows, const T* plane, T* to);

/// `channels` <= nr planes as one padded plane of nr numbers for each pixel, zeros where there is no channel.
template <class T>
void arrange_by_channels(const Conv2dShape& shape, const T* x, int64_t channels, int64_t nr, T* out);

/// Where the outputs of `images` padded images side by side start reading, then a harmless continuation so
/// that whole panels can be read. phases: 1 or the stride.
std::vector<int64_t> pixel_offsets(const Conv2dShape& shape, int64_t images, int64_t phases = 1);
/// Where the taps (channel, row, column) of one output lie, then zeros likewise.
std::vector<int64_t> tap_offsets(const Conv2dShape& shape, int64_t phases = 1);

/// A panel of pixels by taps as operand B of a product: packed when offsets is null, else where it lies
/// (GemmBlock::b_offsets).
template <class T>
struct PixelPanel {
  const T* at;
  const int64_t* offsets;
  int64_t second;
};

/// Address tables of one convolution over zero-padded images [in_channels, padded_height, padded_width], a
/// few of them side by side: their pixels are numbered on from image to image, so that panels of pixels need
/// not end with an image.
template <class T>
class Conv2dPlan {
 public:
  /// phases: 1, or shape.stride for PaddedRows that are dealt.
  explicit Conv2dPlan(const Conv2dShape& shape, int64_t images = 1, int64_t phases = 1);

  int64_t padded_height() const { return rows_.height; }
  int64_t padded_width() const { return rows_.width; }
  /// Elements of all padded images, with readable margins before and after.
  int64_t buffer_size() const {
    return 2 * margin + images_ * shape_.in_channels * rows_.height * rows_.width;
  }
  /// Where the first padded image starts in a buffer of buffer_size() elements.
  static T* origin(T* buffer) { return buffer + margin; }
  static const T* origin(const T* buffer) { return buffer + margin; }
  /// Copies images n, n + 1, ... of `source` (at most as many as the plan has) between zero borders into
  /// `buffer`.
  void pad(const Conv2dGradient<T>& source, int64_t n, int64_t images, T* buffer) const;
  /// The same for some of their planes alone, numbered through the images.
  void pad_planes(const Conv2dGradient<T>& source, int64_t n, int64_t first, int64_t count, T* buffer) const;

  /// The unfolding of `pixels` pixels from p0 (a multiple of 8) on by `taps` taps from k0 on, into `panels`.
  Unfold<T> unfold(const T* image, int64_t p0, int64_t pixels, int64_t k0, int64_t taps, T* panels) const;
  /// The same for a single panel: where it lies, if its vectors do, else unfolded into `panel`.
  PixelPanel<T> pixel_panel(const T* image, int64_t p0, int64_t pixels, int64_t k0, int64_t taps,
                            T* panel) const;

 private:
  static constexpr int64_t margin = 64;

  Conv2dShape shape_;
  int64_t images_;
  PaddedRows rows_;
  std::vector<int64_t> pixel_offsets_, tap_offsets_;
  int64_t spacing_;
  int runs_;
  std::vector<PixelVector> pixels_;
};

/// Writes image n of x, or of a gradient with the fused ReLU and pooling undone, as [channels, height, width]
/// with the given strides. Elements between the rows are not touched.
template <class T>
void write_image(const Conv2dGradient<T>& source, int64_t n, int64_t channels, int64_t height, int64_t width,
                 T* out, int64_t row_stride, int64_t plane_stride);

/// Image n as [channels, height, width] without gaps: in place when nothing is fused, else written to
/// `buffer`.
template <class T>
const T* whole_image(const Conv2dGradient<T>& source, int64_t n, int64_t channels, int64_t height,
                     int64_t width, T* buffer) {
  if (!source.output && !source.argmax && !source.mask) return source.dy + n * channels * height * width;
  write_image(source, n, channels, height, width, buffer, width, height * width);
  return buffer;
}

/// The weights of a convolution, or those of the convolution whose input gradient is sought: to be turned.
template <class T>
struct ConvolvedWeight {
  const T* data;
  bool turned = false;
};

/// The weights as the convolution `shape` reads them, [out_channels, in_channels, kernel_h, kernel_w]: where
/// they lie, or turned into `buffer`: both axes of the kernel reversed and those of the channels exchanged.
template <class T>
const T* as_convolved(const Conv2dShape& shape, const ConvolvedWeight<T>& weight, T* buffer);

/// Makes one plane of an input gradient of its columns, for each place of the kernel out_pixels products of
/// weights and gradients, `step` elements from each other.
template <class T>
void add_columns(const Conv2dShape& shape, const T* columns, int64_t step, T* dx);

/// Sum of a plane in T: sixteen interleaved sums, then their sum.
template <class T>
T sum_plane(int64_t n, const T* x) {
  return channel_kernels().of<T>().sum(n, x);
}

/// A Conv2dNorm, its slopes (batch_norm_slope()) worked out for each channel.
template <class T>
struct PlaneNorm {
  const Conv2dNorm<T>& of;
  const T* slope;
};

/// What happens to the sums of a convolution, and where it leaves them: bias, then ReLU or norm, in y; or
/// pooled when y is null.
template <class T>
struct Conv2dEpilogue {
  T* y = nullptr;                      // [batch, out_channels, out_height, out_width]
  T* pooled = nullptr;                 // halved in height and width
  uint8_t* argmax = nullptr;           // like pooled, or null
  const T* bias = nullptr;             // [out_channels] or null
  bool relu = false;                   // max(x, 0), NaN stays NaN
  const PlaneNorm<T>* norm = nullptr;  // of y alone

  /// Whether `images` images are finished once they are computed where they belong.
  bool in_place(int64_t images) const { return y && images == 1; }
};

/// Brings finished planes of outputs to their places, where they may be already, normalised or pooled on the
/// way; bias and ReLU are in them. (An object: the extents of outputs are divisions, too slow to be worked
/// out for every plane.)
template <class T>
class Delivery {
 public:
  Delivery(const Conv2dShape& shape, const Conv2dEpilogue<T>& to);
  /// The plane of channel c of image n, which lies at y.
  void operator()(const T* y, int64_t n, int64_t c) const;
  /// Channels c, c + 1, ... of images n, n + 1, ..., which lie at y [channels, images, pixels].
  void operator()(const T* y, int64_t n, int64_t images, int64_t c, int64_t channels) const;

 private:
  int64_t channels_, height_, width_, pixels_;
  const Conv2dEpilogue<T>& to_;
};

/// The forward product on an image or on a gradient: the input gradient of stride 1 is a convolution as well.
/// Goes Winograd's way, that of pairs, or the direct one, by the shape of one image and --math.
template <class T>
void convolve(const Conv2dShape& shape, const Conv2dGradient<T>& source, const ConvolvedWeight<T>& weight,
              const Conv2dEpilogue<T>& to);

}  // namespace hashgrad::cpu
