// Figure 5 (C-F5): how the weights and the activations of a network are distributed, and what of them the
// range of a fixed-point format cuts off.
#pragma once

#include <optional>
#include <vector>

#include "autograd/ops/fixed_point.h"
#include "experiments/study/cells.h"
#include "nn/model.h"

namespace hashgrad::zhao2019 {

/// Random images whose activations are counted.
constexpr int64_t images_of_distributions = 10;
/// Distributions are drawn between minus and plus these: the range of 4 bits, and that of the wider formats.
constexpr double reach_of_weights = 1, reach_of_activations = 8;

/// Evenly spaced values from -reach to reach, 0 in the middle.
constexpr int64_t points_of_distributions = 257;
std::vector<double> points_within(double reach);

/// The share of `values` that is at most p, for each p of the ascending `points`.
std::vector<double> cumulative_shares(const std::vector<double>& values, const std::vector<double>& points);

/// The share of `values` on or beyond the lowest or the highest number of the format in float32. Of numbers
/// in that format: what was clipped, and what rounding leads there.
double share_at_ends(const std::vector<double>& values, const FixedPointFormat& format);

/// Numbers of a network, as a cell keeps them: "cumulative" shares at the points within `reach`, "up_to_zero"
/// and "zero", the shares of at most and of exactly 0, and, in fixed point, "at_ends".
study::Json distribution(const std::vector<double>& values, double reach,
                         const std::optional<FixedPointFormat>& format);

/// The weights, without biases, of all fully connected and convolution layers.
std::vector<double> weights_of(const Model& model);
/// What stands behind the layers where fixed point rounds, whether this model is rounded there or not: the
/// sums in front of activation functions, class scores not among them. Images [N,C,H,W] of the model's type
/// and place.
std::vector<double> activations_of(const Model& model, const Tensor& images);

}  // namespace hashgrad::zhao2019
