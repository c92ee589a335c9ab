// Barriers, shuffles, votes and warp reductions of CUDA, each a few lines on emulator::warp_operation.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "cuda/emulator/hooks.h"

namespace hashgrad::emulator {

/// Calls f(lane) for every lane of `lanes`, in ascending order.
template <class F>
void for_each_lane(uint32_t lanes, const F& f) {
  for (; lanes != 0; lanes &= lanes - 1) f(std::countr_zero(lanes));
}

/// Runs `all(payloads, lanes)` over the `payload`s (each a Payload) of the lanes in `mask`.
template <class Payload, class All>
void with_warp(uint32_t mask, Payload& payload, All, Site site) {
  static_assert(
      std::is_empty_v<All>);  // it runs in one lane for all, so it must not carry that lane's values
  warp_operation(
      mask, &payload,
      [](void** payloads, uint32_t lanes) {
        Payload* of[32] = {};
        for_each_lane(lanes, [&](int lane) { of[lane] = static_cast<Payload*>(payloads[lane]); });
        All{}(of, lanes);
      },
      site);
}

template <class T>
concept Shuffled = std::is_arithmetic_v<T> &&(sizeof(T) == 4 || sizeof(T) == 8);

template <class T>
struct ShuffleLane {
  T in, out;
  int source;
};

/// The value of lane `source`. From a lane that takes no part a GPU delivers anything; here it is all ones (a
/// NaN).
template <Shuffled T>
T shuffle(uint32_t mask, T value, int source, Site site) {
  ShuffleLane<T> lane{value, value, source};
  with_warp(
      mask, lane,
      [](ShuffleLane<T>** of, uint32_t lanes) {
        for_each_lane(lanes, [&](int l) {
          const ShuffleLane<T>* from = of[of[l]->source];
          if (from)
            of[l]->out = from->in;
          else
            std::memset(&of[l]->out, 0xff, sizeof(T));
        });
      },
      site);
  return lane.out;
}

struct BallotLane {
  bool in;
  uint32_t out;
};
inline uint32_t ballot(uint32_t mask, bool value, Site site) {
  BallotLane lane{value, 0};
  with_warp(
      mask, lane,
      [](BallotLane** of, uint32_t lanes) {
        uint32_t bits = 0;
        for_each_lane(lanes, [&](int l) { bits |= static_cast<uint32_t>(of[l]->in) << l; });
        for_each_lane(lanes, [&](int l) { of[l]->out = bits; });
      },
      site);
  return lane.out;
}

template <class T>
struct MatchLane {
  T in;
  uint32_t out;
};
template <Shuffled T>
uint32_t match(uint32_t mask, T value, Site site) {
  MatchLane<T> lane{value, 0};
  with_warp(
      mask, lane,
      [](MatchLane<T>** of, uint32_t lanes) {
        for_each_lane(lanes, [&](int l) {
          for_each_lane(lanes, [&](int other) {
            const bool same = std::memcmp(&of[l]->in, &of[other]->in, sizeof(T)) == 0;
            of[l]->out |= static_cast<uint32_t>(same) << other;
          });
        });
      },
      site);
  return lane.out;
}

/// Op over the lanes of `mask`, in lane order.
template <class Op, std::integral T>
T reduce_lanes(uint32_t mask, T value, Site site) {
  static_assert(sizeof(T) == 4);
  T lane = value;
  with_warp(
      mask, lane,
      [](T** of, uint32_t lanes) {
        T sum = *of[std::countr_zero(lanes)];
        for_each_lane(lanes & (lanes - 1), [&](int l) { sum = Op{}(sum, *of[l]); });
        for_each_lane(lanes, [&](int l) { *of[l] = sum; });
      },
      site);
  return lane;
}
struct Smaller {
  template <class T>
  T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};
struct Larger {
  template <class T>
  T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

template <class T, class Op>
struct ReduceLane {
  T value;
  Op* op;
};
/// The butterfly of cuda/gpu.h's warp_reduce as one operation: each step combines own value and partner's, as
/// a GPU does.
template <class T, class Op>
T warp_reduce(T value, Op& op, Site site) {
  ReduceLane<T, Op> lane{value, &op};
  warp_operation(
      0xffffffffu, &lane,
      [](void** payloads, uint32_t lanes) {
        if (lanes != 0xffffffffu) fail_kernel("warp_reduce needs all 32 lanes of the warp", here());
        T now[32], next[32];
        for (int l = 0; l < 32; ++l) now[l] = static_cast<ReduceLane<T, Op>*>(payloads[l])->value;
        for (int distance = 16; distance > 0; distance /= 2) {
          for (int l = 0; l < 32; ++l)
            next[l] = (*static_cast<ReduceLane<T, Op>*>(payloads[l])->op)(now[l], now[l ^ distance]);
          for (int l = 0; l < 32; ++l) now[l] = next[l];
        }
        for (int l = 0; l < 32; ++l) static_cast<ReduceLane<T, Op>*>(payloads[l])->value = now[l];
      },
      site);
  return lane.value;
}

}  // namespace hashgrad::emulator

namespace hashgrad::emu {

// The line of the call is the default of a last argument that kernels do not write.
#define HERE Site site = here(__builtin_FILE(), __builtin_LINE())

inline void __syncthreads(HERE) { emulator::block_barrier(emulator::Vote::none, false, site); }
inline int __syncthreads_count(int value, HERE) {
  return emulator::block_barrier(emulator::Vote::count, value != 0, site);
}
inline int __syncthreads_and(int value, HERE) {
  return emulator::block_barrier(emulator::Vote::all, value != 0, site);
}
inline int __syncthreads_or(int value, HERE) {
  return emulator::block_barrier(emulator::Vote::any, value != 0, site);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, HERE) {
  emulator::warp_operation(
      mask, nullptr, [](void**, uint32_t) {}, site);
}
inline void __nanosleep(unsigned) { emulator::give_way(); }

// The four shuffles: which lane is read, as in the PTX manual's shfl.sync.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, HERE) {
  const int lane = static_cast<int>(emulator::current_lane);
  return emulator::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, HERE) {
  const int lane = static_cast<int>(emulator::current_lane), source = lane ^ lanes;
  const bool later_segment = (source & ~(width - 1)) > (lane & ~(width - 1));
  return emulator::shuffle(mask, value, later_segment || source > 31 ? lane : source, site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, HERE) {
  const int lane = static_cast<int>(emulator::current_lane), source = lane - static_cast<int>(distance);
  return emulator::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, HERE) {
  const int lane = static_cast<int>(emulator::current_lane), source = lane + static_cast<int>(distance);
  return emulator::shuffle(mask, value, source >= (lane & ~(width - 1)) + width ? lane : source, site);
}

inline unsigned __ballot_sync(unsigned mask, int value, HERE) {
  return emulator::ballot(mask, value != 0, site);
}
inline int __any_sync(unsigned mask, int value, HERE) {
  return emulator::ballot(mask, value != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int value, HERE) {
  return emulator::ballot(mask, value == 0, site) == 0;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, HERE) {
  return emulator::match(mask, value, site);
}
template <class T>
unsigned __match_all_sync(unsigned mask, T value, int* all, HERE) {
  *all = emulator::match(mask, value, site) == mask;
  return *all ? mask : 0;
}

template <class T>
T __reduce_add_sync(unsigned mask, T value, HERE) {
  return emulator::reduce_lanes<std::plus<>>(mask, value, site);
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, HERE) {
  return emulator::reduce_lanes<emulator::Smaller>(mask, value, site);
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, HERE) {
  return emulator::reduce_lanes<emulator::Larger>(mask, value, site);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value, HERE) {
  return emulator::reduce_lanes<std::bit_and<>>(mask, value, site);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, HERE) {
  return emulator::reduce_lanes<std::bit_or<>>(mask, value, site);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value, HERE) {
  return emulator::reduce_lanes<std::bit_xor<>>(mask, value, site);
}
#undef HERE

}  // namespace hashgrad::emu
