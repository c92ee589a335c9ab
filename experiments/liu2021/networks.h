// The networks of the study, by name.
#pragma once

#include <array>
#include <string>

#include "experiments/liu2021/protocol.h"

namespace hashgrad::liu2021 {

/// A row of B-T1 and B-T2. The names are those of the networks, too.
struct Defended {
  const char* name;
  const char* twin;    ///< what it was made from; empty: from nothing
  const char* method;  ///< gi1, gi2, gi3, or empty
};
inline constexpr std::array<Defended, 8> defended{{{"original", "", ""},
                                                   {"hash", "original", ""},
                                                   {"GI1", "original", "gi1"},
                                                   {"GI2", "original", "gi2"},
                                                   {"GI3", "original", "gi3"},
                                                   {"hash+GI1", "hash", "gi1"},
                                                   {"hash+GI2", "hash", "gi2"},
                                                   {"hash+GI3", "hash", "gi3"}}};
/// An Error when there is none of that name.
const Defended& defended_as(const std::string& name);
/// eps of a method on the protocol's data.
double strength(const Protocol& protocol, const std::string& method);

/// B9, "all the last three layers", as select_layers() takes them: the fully connected ones and, where these
/// are fewer than three, the convolution in front of them, in the order of the spec, if `convolution` is set.
std::string inhibited_layers(const Spec& spec, bool convolution);

/// Network of the mean weights of a GI3 network: GI1 of half its eps.
std::string mean_network(const std::string& gi3);
/// Network trained on the answers of another.
std::string substitute_of(const std::string& victim);
/// Network behind the bit depth of the protocol.
std::string quantised(const Protocol& protocol);

/// 0.125 as "1/8".
std::string rate_name(double rate);

}  // namespace hashgrad::liu2021
