// What became of each image, as cells keep it: shares, their intervals, and the worst case over several
// attacks are counted from it, whichever of them a table asks for.
#pragma once

#include <optional>
#include <string>

#include "attacks/attack.h"
#include "experiments/study/cells.h"

namespace hashgrad::study {

/// One '1' or '0' per image, or per pair of an image and a target, in the order of the attack's input.
using Outcomes = std::string;

/// Where `model` answers `images` [N,C,H,W] with the labels of `input`.
Outcomes right(const Model& model, const AttackInput& input, const Tensor& images, int64_t batch);
/// Where its answer is the goal of `input`: any class but the label, or the target.
Outcomes reached(const Model& model, const AttackInput& input, const Tensor& images, int64_t batch);

/// '1' where both are. An Error when they are not of one length.
Outcomes both(const Outcomes& a, const Outcomes& b);
/// The share of '1'.
Rate share(const Outcomes& outcomes);
/// The share of '1' among those where `counted` has one.
Rate share_of(const Outcomes& outcomes, const Outcomes& counted);

/// Median L2 distance of the images that reach the goal and did not without attack; 0 for none.
double median_l2(const AttackResult& crafted);

// What tables and findings make of a cell; nothing, and "not run", where it is missing.
inline constexpr const char* not_run = "not run";
/// The share of '1' in its outcomes `name`.
std::optional<Rate> share(const Json* values, const std::string& name);
/// "98.77 [98.5, 99.0]".
std::string shown(const std::optional<Rate>& rate);
/// The same of the rate that the cell keeps under this name.
std::string shown(const Json* values, const std::string& rate);

/// For tables without brackets: "95 % Wilson intervals: at most +-1.3 points, each in its cell".
std::string widest_interval(int64_t n);

/// How a share differs from another one, by their 95 % intervals: none where these overlap.
enum class Change { falls, none, rises };
Change change(const Rate& from, const Rate& to);
/// Whether a network that tells so many classes apart is right more often than chance, by the 95 % interval.
bool beats_chance(const Rate& right, int64_t classes);
/// "held", "did not hold".
const char* verdict(bool held);
/// "CLAIM Measured: MEASURED. It held." or "... It did not hold."
std::string finding(const std::string& claim, const std::string& measured, bool held);
/// "CLAIM Measured: MEASURED. It says nothing: without attack LABEL answers CLEAN % right, by chance as
/// many."
std::string by_chance(const std::string& claim, const std::string& measured, const std::string& label,
                      const Rate& clean);
/// "CLAIM Not judged: cells are missing."
std::string unjudged(const std::string& claim);

}  // namespace hashgrad::study
