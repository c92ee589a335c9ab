// Convolution of NCHW images, from one thread per output to the production kernel. docs/kernels/conv2d.md
// has the steps.
#include "bench/ladders/ladders.h"
#include "cpu/conv2d.h"
#include "cuda/conv2d.h"
#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU::bench {
namespace {

/// y [batch, out, height, width], stride 1, square kernel, padding kernel / 2: y is as large as x [batch, in,
/// ...].
struct Conv {
  int batch, in, height, width, out, kernel;
  const float *x, *weight;  // weight [out, in, kernel, kernel]
  float* y;

  __device__ float x_at(int image, int channel, int r, int c) const {
    const bool inside = image < batch && r >= 0 && r < height && c >= 0 && c < width;
    return inside ? x[((int64_t{image} * in + channel) * height + r) * width + c] : 0.0f;
  }
};

__device__ __forceinline__ int thread_x() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int thread_y() { return static_cast<int>(threadIdx.y); }

/// 1. A thread per output, neighbours along a row of the image. Every input is read kernel^2 * out times.
__global__ void direct(Conv s) {
  const int64_t at = grid_rank(), plane = int64_t{s.height} * s.width;
  if (at >= s.batch * s.out * plane) return;
  const int c = static_cast<int>(at % s.width), r = static_cast<int>(at / s.width % s.height);
  const int o = static_cast<int>(at / plane % s.out), image = static_cast<int>(at / plane / s.out);
  const float* weight = s.weight + int64_t{o} * s.in * s.kernel * s.kernel;
  float sum = 0;
  for (int i = 0; i < s.in; ++i)
    for (int u = 0; u < s.kernel; ++u)
      for (int v = 0; v < s.kernel; ++v)
        sum += *weight++ * s.x_at(image, i, r + u - s.kernel / 2, c + v - s.kernel / 2);
  s.y[at] = sum;
}

/// 2. A block brings 16 x 16 pixels of a channel and the margin that the kernel reaches over (the halo) to
/// shared memory, and computes 8 output channels from it: 8 * kernel^2 uses per element.
__global__ void __launch_bounds__(256) shared_halo(Conv s) {
  constexpr int side = 16, most = side + 6, channels = 8;  // kernels up to 7
  GPU_SHARED(float, tile, [most][most]);
  GPU_SHARED(float, weights, [channels][49]);
  const int across = (s.width + side - 1) / side, groups = (s.out + channels - 1) / channels;
  const int c0 = static_cast<int>(blockIdx.x) % across * side,
            r0 = static_cast<int>(blockIdx.x) / across * side;
  const int o0 = static_cast<int>(blockIdx.y) % groups * channels,
            image = static_cast<int>(blockIdx.y) / groups;
  const int t = thread_y() * side + thread_x(), half = s.kernel / 2, wide = side + s.kernel - 1,
            taps = s.kernel * s.kernel;
  float sums[channels] = {};
  for (int i = 0; i < s.in; ++i) {
    __syncthreads();
    for (int e = t; e < wide * wide; e += 256)
      tile[e / wide][e % wide] = s.x_at(image, i, r0 + e / wide - half, c0 + e % wide - half);
    for (int e = t; e < channels * taps; e += 256) {
      const int o = o0 + e / taps;
      weights[e / taps][e % taps] = o < s.out ? s.weight[(int64_t{o} * s.in + i) * taps + e % taps] : 0.0f;
    }
    __syncthreads();
    for (int u = 0; u < s.kernel; ++u)
      for (int v = 0; v < s.kernel; ++v) {
        const float x = tile[thread_y() + u][thread_x() + v];
        GPU_UNROLL
        for (int o = 0; o < channels; ++o) sums[o] += weights[o][u * s.kernel + v] * x;
      }
  }
  const int r = r0 + thread_y(), c = c0 + thread_x();
  if (r >= s.height || c >= s.width) return;
  for (int o = 0; o < channels && o0 + o < s.out; ++o)
    s.y[((int64_t{image} * s.out + o0 + o) * s.height + r) * s.width + c] = sums[o];
}

/// 3. The convolution as a matrix product, weight [out, depth] times the unfolded image [depth, pixels],
/// depth = in * kernel^2. The second matrix exists tile by tile only: 64 channels x 64 pixels per block, 4 x
/// 4 per thread.
__global__ void __launch_bounds__(256) implicit_gemm(Conv s) {
  constexpr int step = 8;
  GPU_SHARED(float, weights, [step][64]);
  GPU_SHARED(float, pixels, [step][64]);
  const int t = thread_x(), tx = t % 16, ty = t / 16, plane = s.height * s.width, taps = s.kernel * s.kernel;
  const int depth = s.in * taps, o0 = static_cast<int>(blockIdx.y) * 64;
  const int64_t p0 = int64_t{blockIdx.x} * 64, own = p0 + t % 64;  // pixels are counted through all images
  const int image = static_cast<int>(own / plane), at = static_cast<int>(own % plane);
  const int r0 = at / s.width - s.kernel / 2, c0 = at % s.width - s.kernel / 2;
  float sums[4][4] = {};
  for (int d0 = 0; d0 < depth; d0 += step) {
    __syncthreads();
    GPU_UNROLL
    for (int part = 0; part < 2; ++part) {
      const int k = t / 64 + 4 * part, d = d0 + k, tap = d % taps;
      pixels[k][t % 64] =
          d < depth ? s.x_at(image, d / taps, r0 + tap / s.kernel, c0 + tap % s.kernel) : 0.0f;
      const int o = o0 + t / 4 % 64, kw = t % 4 + 4 * part;
      weights[kw][t / 4] = o < s.out && d0 + kw < depth ? s.weight[int64_t{o} * depth + d0 + kw] : 0.0f;
    }
    __syncthreads();
    GPU_UNROLL
    for (int k = 0; k < step; ++k) {
      GPU_UNROLL
      for (int a = 0; a < 4; ++a) {
        GPU_UNROLL
        for (int b = 0; b < 4; ++b) sums[a][b] += weights[k][ty + 16 * a] * pixels[k][tx + 16 * b];
      }
    }
  }
  GPU_UNROLL
  for (int b = 0; b < 4; ++b) {
    const int64_t p = p0 + tx + 16 * b;
    if (p >= int64_t{s.batch} * plane) continue;
    GPU_UNROLL
    for (int a = 0; a < 4; ++a) {
      const int o = o0 + ty + 16 * a;
      if (o < s.out) s.y[(p / plane * s.out + o) * plane + p % plane] = sums[a][b];
    }
  }
}

}  // namespace

Ladder conv2d_ladder(int64_t batch, int64_t in, int64_t side, int64_t out, int64_t kernel) {
  check(kernel % 2 == 1 && kernel <= 7 && batch >= 1 && in >= 1 && side >= 1 && out >= 1,
        "conv2d ladder: a kernel of {} (1, 3, 5 or 7), and extents of at least 1", kernel);
  const cpu::Conv2dShape shape{batch, in, side, side, out, kernel, kernel, 1, kernel / 2};
  const int64_t pixels = side * side, taps = kernel * kernel;
  check(batch * blocks_for(out, 8) < 65536, "conv2d ladder: {} images are too many", batch);
  const double products = static_cast<double>(batch * pixels * out) * static_cast<double>(in * taps);
  const double bytes = 4 * static_cast<double>(batch * pixels * (in + out) + out * in * taps);
  Ladder ladder{.name = "conv2d",
                .formula = "Y = A * B, A [batch, in, side, side], B [out, in, kernel, kernel], padded",
                .extents = {{"batch", batch}, {"in", in}, {"side", side}, {"out", out}, {"kernel", kernel}},
                .a = batch * in * pixels,
                .b = out * in * taps,
                .y = batch * out * pixels,
                .work = {.memory = bytes, .multiply_add = 2 * products},
                .flops = 2 * products,
                .reference = {},
                .rungs = {}};
  ladder.reference = [=](const float* a, const float* b, float* y) {
    cpu::conv2d_forward<float>(shape, a, b, nullptr, false, y);
  };
  const auto add = [&](const char* idea, double l2_bytes, double shared_words, double integer,
                       auto kernel_function, dim3 grid, dim3 block) {
    Program run = [=](const float* a, const float* b, float* y) {
      const auto to_int = [](int64_t n) { return static_cast<int>(n); };
      launch(
          kernel_function, grid, block, 0,
          Conv{to_int(batch), to_int(in), to_int(side), to_int(side), to_int(out), to_int(kernel), a, b, y});
    };
    ladder.rungs.push_back({idea,
                            std::move(run),
                            {.memory = bytes,
                             .l2 = l2_bytes * products,
                             .multiply_add = 2 * products,
                             .integer = integer * products,
                             .shared = shared_words * products},
                            1e-5});
  };
  const auto extent = [](int64_t n) { return static_cast<unsigned>(n); };
  const double halo =
      static_cast<double>((15 + kernel) * (15 + kernel)) / static_cast<double>(256 * 8 * taps);
  add("a thread per output", 4 + 0.125, 0, 8, direct, dim3(extent(blocks_for(batch * out * pixels, 256))),
      dim3(256));
  add("pixels and halo in shared memory", 4 * halo, 1.0 + 1.0 / 8, 0, shared_halo,
      dim3(extent(blocks_for(side, 16) * blocks_for(side, 16)), extent(batch * blocks_for(out, 8))),
      dim3(16, 16));
  add("implicit matrix product", 8.0 / 64, 2.0 / 4, 0.25, implicit_gemm,
      dim3(extent(blocks_for(batch * pixels, 64)), extent(blocks_for(out, 64))), dim3(256));
  ladder.rungs.push_back({"production",
                          [=](const float* a, const float* b, float* y) {
                            HASHGRAD_GPU::conv2d_forward<float>(shape, a, b, nullptr, false, y);
                          },
                          {.memory = bytes,
                           .l2 = 8.0 / 128 * products,
                           .multiply_add = 2 * products,
                           .shared = 2.0 / 8 * products},
                          1e-5});
  return ladder;
}

}  // namespace hashgrad::HASHGRAD_GPU::bench
