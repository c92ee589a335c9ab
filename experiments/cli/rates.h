// Shares of images as the verbs write them.
#pragma once

#include <nlohmann/json.hpp>

#include "attacks/statistics.h"

namespace hashgrad::cli {

/// {rate, hits, n, interval: [low, high]}, the interval Wilson's at 95 %.
inline nlohmann::ordered_json json_of(const Rate& rate) {
  return {{"rate", rate.value()},
          {"hits", rate.hits},
          {"n", rate.trials},
          {"interval", {rate.interval().low, rate.interval().high}}};
}

}  // namespace hashgrad::cli
