// The networks of the study, by name.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace hashgrad::liu2021 {

/// A row of B-T1 and B-T2. The names are those of the networks, too.
struct Defended {
  const char* name;
  const char* twin;    ///< what it was made from; empty: from nothing
  const char* method;  ///< gi1, gi2, gi3, or empty
  double eps;          ///< of the method; on MNIST each adds 0.1 in the mean
};
inline constexpr std::array<Defended, 8> defended{{{"original", "", "", 0},
                                                   {"hash", "original", "", 0},
                                                   {"GI1", "original", "gi1", 0.1},
                                                   {"GI2", "original", "gi2", 3},
                                                   {"GI3", "original", "gi3", 0.2},
                                                   {"hash+GI1", "hash", "gi1", 0.1},
                                                   {"hash+GI2", "hash", "gi2", 3},
                                                   {"hash+GI3", "hash", "gi3", 0.2}}};
constexpr const char* inhibited_layers = "last:3";  // B9

/// Whether the network of this name draws random numbers at every answer.
constexpr bool answers_by_draw(std::string_view name) {
  for (const Defended& d : defended)
    if (d.name == name) return std::string_view(d.method) == "gi3";
  return false;
}

/// Network of the mean weights of a GI3 network: GI1 of half its eps.
std::string mean_network(const std::string& gi3);
/// Network trained on the answers of another.
std::string substitute_of(const std::string& victim);

/// 0.125 as "1/8".
std::string rate_name(double rate);

}  // namespace hashgrad::liu2021
