#include "nn/pixel_queries.h"

#include <algorithm>

#include "autograd/ops/conv2d.h"
#include "core/parallel.h"
#include "cpu/winograd.h"

namespace hashgrad {
namespace {

using Kind = LayerSpec::Kind;

bool each_number_alone(Kind kind) {
  return kind == Kind::relu || kind == Kind::bn || kind == Kind::norm || kind == Kind::scale ||
         kind == Kind::dropout;
}

bool is_plain(const LayerSpec& layer) {
  return layer.kind == Kind::conv && layer.stride == 1 && layer.padding.square() && !layer.hashed();
}

bool is_pool2(const LayerSpec& layer) {
  return layer.kind == Kind::max_pool && layer.kernel.height == 2 && layer.kernel.width == 2 &&
         layer.stride == 2 && layer.padding.height == 0 && layer.padding.width == 0;
}

/// Windows of equal size, one in the maps of each query: [Q,C,height,width] from row and column on.
struct Windows {
  Tensor values;
  std::vector<int64_t> image, row, column;  // [Q]; row and column may lie in the padding
  int64_t height() const { return values.size(2); }
  int64_t width() const { return values.size(3); }
};

/// A range along one axis.
struct Span {
  int64_t first, size;
  int64_t end() const { return first + size; }
};

/// Outputs that see any of these inputs: of a convolution, and, whole, of 2x2 windows. All queries get as
/// many, so those at an edge get some more.
Span behind_convolution(Span in, int64_t kernel, int64_t padding, int64_t outputs) {
  const int64_t size = std::min(in.size + kernel - 1, outputs);
  return {std::clamp<int64_t>(in.first + padding - (kernel - 1), 0, outputs - size), size};
}
Span whole_pairs(Span in, int64_t inputs) {
  const int64_t even = inputs / 2 * 2, size = std::min((in.size + 2) / 2 * 2, even);
  return {std::min(in.first / 2 * 2, even - size), size};
}

/// Copies what two framed planes have in common from one to the other.
template <class T>
void overlay(const T* from, Span from_rows, Span from_columns, T* to, Span rows, Span columns) {
  const int64_t left = std::max(columns.first, from_columns.first),
                right = std::min(columns.end(), from_columns.end()), n = right - left;
  const int64_t top = std::max(rows.first, from_rows.first), bottom = std::min(rows.end(), from_rows.end());
  if (n <= 0 || top >= bottom) return;
  from += (top - from_rows.first) * from_columns.size + left - from_columns.first;
  to += (top - rows.first) * columns.size + left - columns.first;
  if (n == from_columns.size && n == columns.size) {
    std::copy_n(from, (bottom - top) * n, to);
    return;
  }
  for (int64_t y = top; y < bottom; ++y, from += from_columns.size, to += columns.size)
    std::copy_n(from, n, to);
}

/// The same queries seen through other windows: row_of and column_of tell which, by those they have.
template <class RowOf, class ColumnOf>
Windows reframed(const Windows& from, const Tensor& maps, const RowOf& row_of, const ColumnOf& column_of) {
  const int64_t queries = std::ssize(from.image), channels = maps.size(1);
  const int64_t map_height = maps.size(2), map_width = maps.size(3), map = map_height * map_width;
  const int64_t old_height = from.height(), old_width = from.width(), old = old_height * old_width;
  const int64_t height = row_of(Span{0, old_height}).size, width = column_of(Span{0, old_width}).size;
  Windows to{Tensor::empty({queries, channels, height, width}, maps.dtype()), from.image, from.row,
             from.column};
  const auto reframe = [&]<class T>(size_t q, const T* map_values, const T* old_values, T* values) {
    const Span old_rows{from.row[q], old_height}, old_columns{from.column[q], old_width};
    const Span rows = row_of(old_rows), columns = column_of(old_columns);
    to.row[q] = rows.first, to.column[q] = columns.first;
    if (rows.first < 0 || rows.end() > map_height || columns.first < 0 || columns.end() > map_width)
      std::fill_n(values, channels * height * width, T{0});  // the padding
    for (int64_t c = 0; c < channels; ++c, values += height * width) {
      overlay(map_values + c * map, {0, map_height}, {0, map_width}, values, rows, columns);
      overlay(old_values + c * old, old_rows, old_columns, values, rows, columns);
    }
  };
  for_float_type(maps.dtype(), "pixel queries", [&]<class T>() {
    const T *all_maps = maps.data<T>(), *all_old = from.values.data<T>();
    T* all = to.values.data<T>();
    const int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(1, channels * height * width));
    parallel_ranges(queries, grain, [&](int64_t begin, int64_t end) {
      for (int64_t q = begin; q < end; ++q)
        reframe(static_cast<size_t>(q), all_maps + from.image[static_cast<size_t>(q)] * channels * map,
                all_old + q * channels * old, all + q * channels * height * width);
    });
  });
  return to;
}

/// The changed pixels themselves, all channels of each.
Windows changed_pixels(const Tensor& images, const std::vector<PixelQueries::Query>& queries) {
  const int64_t channels = images.size(1), width = images.size(3), plane = images.size(2) * width;
  Windows pixels{Tensor::empty({std::ssize(queries), channels, 1, 1}, images.dtype()), {}, {}, {}};
  for (const auto& q : queries) {
    check(0 <= q.image && q.image < images.size(0) && 0 <= q.number && q.number < channels * plane,
          "pixel queries: number {} of image {}, there are {} in each of {}", q.number, q.image,
          channels * plane, images.size(0));
    pixels.image.push_back(q.image);
    pixels.row.push_back(q.number % plane / width);
    pixels.column.push_back(q.number % width);
  }
  for_float_type(images.dtype(), "pixel queries", [&]<class T>() {
    T* to = pixels.values.data<T>();
    for (const auto& q : queries)
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t number = c * plane + q.number % plane;
        *to++ = number == q.number ? static_cast<T>(q.value)
                                   : images.data<T>()[q.image * channels * plane + number];
      }
  });
  return pixels;
}

/// What a convolution makes of the windows: the outputs that any of their numbers reaches.
Windows convolved(const Windows& in, const Tensor& maps, const Tensor& weight, const Tensor& bias,
                  int64_t padding, Activation activation) {
  const cpu::Conv2dShape shape =
      conv2d_shape("pixel queries", maps, weight, bias, {.stride = 1, .padding = padding});
  const auto along = [&](int axis) {
    const int64_t kernel = weight.size(axis), outputs = maps.size(axis) + 2 * padding - kernel + 1;
    return [=](Span s) {
      const Span reached = behind_convolution(s, kernel, padding, outputs);
      const cpu::OutputRange out = cpu::same_tiles(shape, {reached.first, reached.size}, outputs);
      return Span{out.first - padding, out.size + kernel - 1};  // the inputs that these see
    };
  };
  Windows out = reframed(in, maps, along(2), along(3));
  out.values = conv2d(out.values, weight, bias, {.activation = activation});
  for (auto* starts : {&out.row, &out.column})
    for (int64_t& start : *starts) start += padding;
  return out;
}

Windows pooled(const Windows& in, const Tensor& maps, const Model& model, size_t layer) {
  // Convolutions in tiles leave windows that are whole pairs already.
  const auto even = [](int64_t i) { return i % 2 == 0; };
  const bool whole = even(in.height()) && even(in.width()) && std::ranges::all_of(in.row, even) &&
                     std::ranges::all_of(in.column, even);
  const auto along = [&](int axis) {
    return [n = maps.size(axis), whole](Span s) { return whole ? s : whole_pairs(s, n); };
  };
  Windows out = reframed(in, maps, along(2), along(3));
  out.values = model.forward(out.values, {}, layer, layer + 1);
  for (auto* starts : {&out.row, &out.column})
    for (int64_t& start : *starts) start /= 2;
  return out;
}

}  // namespace

PixelQueries::PixelQueries(const Model& model, const Tensor& images) : model_(model) {
  check(model.transforms().empty(), "pixel queries: the model transforms its images");
  check(model.device() == Device{} && images.device() == Device{}, "pixel queries: on the CPU only");
  maps_.push_back(images.contiguous());
  const auto state = model.state();
  for (const LayerSpec& layer : model.spec().layers) {
    const size_t i = weights_.size();
    const bool on_windows = each_number_alone(layer.kind) || is_plain(layer) || is_pool2(layer);
    if (!on_windows || !model.coding.activations.empty()) break;
    Weights weights;
    if (is_plain(layer)) {
      weights.weight = state.at(model.parameter_name(i, "weight"));
      if (layer.bias) weights.bias = state.at(model.parameter_name(i, "bias"));
    }
    weights_.push_back(weights);
    maps_.push_back(model.forward(maps_.back(), {}, i, i + 1));
  }
}

Tensor PixelQueries::logits(const std::vector<Query>& queries) const {
  Windows seen = changed_pixels(maps_.front(), queries);
  const std::vector<LayerSpec>& layers = model_.spec().layers;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (layers[i].kind == Kind::conv) {
      const bool relu = i + 1 < weights_.size() && layers[i + 1].kind == Kind::relu;
      seen = convolved(seen, maps_[i], weights_[i].weight, weights_[i].bias, layers[i].padding.height,
                       relu ? Activation::relu : Activation::none);
      i += relu;
    } else if (layers[i].kind == Kind::max_pool) {
      seen = pooled(seen, maps_[i], model_, i);
    } else {
      seen.values = model_.forward(seen.values, {}, i, i + 1);
    }
  }
  const auto whole = [&](int axis) { return [n = maps_.back().size(axis)](Span) { return Span{0, n}; }; };
  const Tensor maps = reframed(seen, maps_.back(), whole(2), whole(3)).values;
  return model_.forward(maps, {}, weights_.size(),
                        layers.size() - size_t{layers.back().kind == Kind::softmax});
}

}  // namespace hashgrad
