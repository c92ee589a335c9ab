// A coded parameter as the tensors that a model file holds of it (docs/compression.md has them byte by byte).
// Which ones there are depends on the coding:
//
//     plain or pruned with hardly a zero   P
//     pruned                               P.gaps  P.values
//     shared                               P.codebook  P.codes
//     fixed point                          P.step  P.codes
//     pruned and one of these              as these, and P.gaps where that is smaller
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/archive.h"
#include "nn/coding.h"

namespace hashgrad {

/// The tensors of a parameter by suffix: "" or ".gaps", ".values", ".codes", ".codebook", ".step". Their
/// bytes are what the parameter takes. Error, opening with `what`, at a value that the coding cannot hold.
std::map<std::string, Tensor> encode_parameter(const Tensor& values, const ParameterCoding& coding,
                                               const std::string& what);

/// The parameter `name` of a file (`file` opens errors), bit by bit as it was: of this shape and element
/// type. Every fault of the file is an Error that names the tensor.
Tensor decode_parameter(const Archive& archive, const std::string& name, const Shape& shape, DType dtype,
                        const ParameterCoding& coding, const std::string& file);

/// The names of the tensors that decode_parameter takes from the archive; any other that belongs to the
/// parameter is one too many.
std::vector<std::string> tensors_of_parameter(const Archive& archive, const std::string& name,
                                              const ParameterCoding& coding);

}  // namespace hashgrad
