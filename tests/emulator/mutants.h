// Kernels with one bug each, to see which checks find which bugs (tests/emulator_mutants.py).
#pragma once

#include "cuda/engines.h"

namespace hashgrad::testing {

/// The bugs, by kernel, and three controls that have none.
#define HASHGRAD_BUGS(X)                                                                       \
  X(control)                      /* every kernel as it should be */                           \
  X(control_separate_arrays)      /* reductions without a last barrier, each with its array */ \
  X(control_reused_array)         /* the same array again, after a barrier */                  \
  X(tile_read_early)              /* no barrier between loading a tile and using it */         \
  X(tile_overwritten_early)       /* none between using it and loading the next */             \
  X(static_shared_overrun)        /* writes a row past a static shared array */                \
  X(reduce_read_early)            /* no barrier between writing parts and adding them */       \
  X(reduce_reused_early)          /* none before the same array is written again */            \
  X(divergent_warp_operation)     /* lanes of one warp in different operations */              \
  X(lane_outside_mask)            /* a lane calls with a mask that lacks it */                 \
  X(divergent_barrier)            /* threads of one block at different barriers */             \
  X(deadlock)                     /* some wait for lanes that wait for them */                 \
  X(global_write_overrun)         /* writes past the end of global memory */                   \
  X(zeroing_not_awaited)          /* no barrier after zeroing shared counts */                 \
  X(counts_read_early)            /* none before the counts are read */                        \
  X(shared_increment_not_atomic)  /* counts[i] += 1 by many threads */                         \
  X(dynamic_shared_overrun)       /* counts past the end of dynamic shared memory */           \
  X(dynamic_shared_not_written)   /* counts from what dynamic shared memory holds at first */  \
  X(static_shared_not_written)    /* adds to a static shared variable that nobody set */       \
  X(global_add_not_atomic)        /* blocks add to one place by load and store */              \
  X(blocks_store_to_one_place)    /* every block stores its own value there */                 \
  X(shift_too_far)                /* undefined: a shift by 32 or more */                       \
  X(global_read_overrun)          /* reads past the end of global memory */                    \
  X(use_after_release)            /* reads a block that was given back */                      \
  X(copy_not_awaited)             /* no cp_async_wait before the tile is used */               \
  X(copies_of_others_not_awaited) /* a wait, but no barrier after it */                        \
  X(syncwarp_missing)             /* lanes read what others wrote, without __syncwarp */

enum class Bug {
#define X(name) name,
  HASHGRAD_BUGS(X)
#undef X
};

}  // namespace hashgrad::testing

namespace hashgrad {
// clang-format off
HASHGRAD_ENGINES(namespace testing {

/// Runs every kernel, one of them with this bug; whether all results were right.
bool run_mutant(::hashgrad::testing::Bug bug);

})
// clang-format on
}  // namespace hashgrad
