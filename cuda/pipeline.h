// Pipelines of the GPU engines (core/pipeline.h): uploads on a stream of their own, recordings as graphs.
#pragma once

#include "core/pipeline.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

void make_pipeline(std::unique_ptr<Pipeline>& made);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
