// Initial values of parameters. Draws are keyed by (seed, layer), so a layer's values do not depend on the
// other layers' sizes.
#pragma once

#include <cstdint>
#include <string>

#include "core/random.h"
#include "core/tensor.h"

namespace hashgrad {

/// The law of the weights; fan_in and fan_out count the connections of one output and of one input unit.
enum class Init {
  pytorch,         ///< uniform within 1/sqrt(fan_in), biases too: the default of PyTorch's Linear and Conv2d
  he_normal,       ///< N(0, 2/fan_in) (He et al., ICCV 2015); biases 0
  he_uniform,      ///< uniform with that variance; biases 0
  xavier_normal,   ///< N(0, 2/(fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010); biases 0
  xavier_uniform,  ///< uniform with that variance; biases 0
  lecun_normal,    ///< N(0, 1/fan_in) (LeCun et al., 1998); biases 0
  zeros            ///< nothing drawn: for values that are about to be replaced
};

/// Reads "pytorch", "he-normal", "he-uniform", "xavier-normal", "xavier-uniform", "lecun-normal", "zeros".
Init parse_init(const std::string& text);
std::string to_string(Init init);

/// Fills the parameters of one layer. Hashed layers pass the fans of the dense layer they stand for, so a
/// virtual weight has the law of a dense one.
class Initialiser {
 public:
  Initialiser(Init law, uint64_t seed, uint64_t layer) : law_(law), seed_(seed), layer_(layer) {}

  void weight(Tensor& weight, int64_t fan_in, int64_t fan_out) const;
  void bias(Tensor& bias, int64_t fan_in) const;

 private:
  Init law_;
  uint64_t seed_, layer_;
};

}  // namespace hashgrad
