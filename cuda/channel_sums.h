// Sums over batch and pixels for each channel of [batch, channels, pixels], in double and in one fixed order.
#pragma once

#include <algorithm>

#include "cuda/gpu.h"
#include "cuda/scratch.h"

namespace hashgrad::HASHGRAD_GPU {

/// How the batch * pixels terms of a channel are cut: a function of the shape alone.
struct ChannelSums {
  int64_t channels, pixels, terms;
  int64_t slice;   // terms that one block adds
  int64_t slices;  // at most 64, so that one thread can add theirs
  int lanes;  // channels side by side in a block: 1, or 32 where a channel's pixels are too few to be read in
              // a row

  ChannelSums(int64_t batch, int64_t channels_, int64_t pixels_)
      : channels(channels_), pixels(pixels_), terms(batch * pixels_) {
    lanes = pixels < 8 ? 32 : 1;
    slice = std::max<int64_t>(lanes == 1 ? 4096 : 256, blocks_for(terms, 64));
    slices = std::max<int64_t>(1, blocks_for(terms, slice));
  }
};

constexpr int channel_sum_threads = 256;

/// A block adds a slice of `lanes` channels. Thread t takes channel t % lanes and every (256 / lanes)th term;
/// then the threads of a channel are added pairwise. partial [slices, channels, count].
template <int count, class Term>
__global__ void __launch_bounds__(channel_sum_threads)
    channel_sums_kernel(ChannelSums s, Term term, double* partial) {
  GPU_SHARED(double, of_thread, [count][channel_sum_threads]);
  const int thread = static_cast<int>(threadIdx.x), step = channel_sum_threads / s.lanes;
  const int64_t c = int64_t{blockIdx.x} * s.lanes + thread % s.lanes;
  const int64_t begin = blockIdx.y * s.slice, end = begin + s.slice < s.terms ? begin + s.slice : s.terms;

  double sums[count] = {};
  const int64_t first = begin + thread / s.lanes, step_images = step / s.pixels,
                step_pixels = step % s.pixels;
  int64_t image = first / s.pixels, pixel = first % s.pixels;
  for (int64_t i = first; i < end && c < s.channels; i += step) {
    term(image, c, pixel, sums);
    image += step_images;
    pixel += step_pixels;
    if (pixel >= s.pixels) {
      pixel -= s.pixels;
      ++image;
    }
  }
  GPU_UNROLL
  for (int j = 0; j < count; ++j) of_thread[j][thread] = sums[j];
  for (int half = channel_sum_threads / 2; half >= s.lanes; half /= 2) {
    __syncthreads();
    GPU_UNROLL
    for (int j = 0; j < count; ++j)
      if (thread < half) of_thread[j][thread] += of_thread[j][thread + half];
  }
  if (thread >= s.lanes || c >= s.channels) return;
  GPU_UNROLL
  for (int j = 0; j < count; ++j) partial[(blockIdx.y * s.channels + c) * count + j] = of_thread[j][thread];
}

/// One thread per channel: adds its slices in order and hands the sums to finish(channel, sums).
template <int count, class Finish>
__global__ void finish_channels_kernel(ChannelSums s, const double* partial, Finish finish) {
  const int64_t c = grid_rank();
  if (c >= s.channels) return;
  double sums[count] = {};
  for (int64_t slice = 0; slice < s.slices; ++slice)
    for (int j = 0; j < count; ++j) sums[j] += partial[(slice * s.channels + c) * count + j];
  finish(c, sums);
}

/// `term(image, channel, pixel, sums)` adds to sums, double[count]; `finish(channel, sums)` puts the totals
/// away. Both are device functions of structs that kernels can take.
template <int count, class Term, class Finish>
void channel_sums(const ChannelSums& s, const Term& term, const Finish& finish) {
  const Scratch<double> partial(s.slices * s.channels * count);
  const dim3 grid(static_cast<unsigned>(blocks_for(s.channels, s.lanes)), static_cast<unsigned>(s.slices));
  launch(channel_sums_kernel<count, Term>, grid, channel_sum_threads, 0, s, term, partial.data());
  launch(finish_channels_kernel<count, Finish>, blocks_for(s.channels, 128), 128, 0, s,
         static_cast<const double*>(partial.data()), finish);
}

}  // namespace hashgrad::HASHGRAD_GPU
