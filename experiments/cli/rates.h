// Shares of images as the verbs write them.
#pragma once

#include <nlohmann/json.hpp>

#include "attacks/statistics.h"

namespace hashgrad::cli {

/// {rate, hits, n, interval: [low, high]}, the interval Wilson's at 95 %; per_image, where several of the n
/// are of one image.
inline nlohmann::ordered_json json_of(const Rate& rate) {
  nlohmann::ordered_json json{{"rate", rate.value()},
                              {"hits", rate.hits},
                              {"n", rate.trials},
                              {"interval", {rate.interval().low, rate.interval().high}}};
  if (rate.per_image > 1) json["per_image"] = rate.per_image;
  return json;
}

}  // namespace hashgrad::cli
