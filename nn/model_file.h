// Models in safetensors files: tensors under PyTorch's names, everything else as metadata strings.
#pragma once

#include <string>

#include "core/archive.h"
#include "nn/model.h"

namespace hashgrad {

/// Reads a model. The file needs the metadata string `spec` (a spec or a zoo name) and the parameters and
/// buffers of that network under their PyTorch names; who wrote it does not matter. Optional metadata:
/// hash_seed, hash_mode ("full", "strat", "window", "xxhash"), hash_bias ("true", "false"). All other
/// metadata is kept. Parameters that masks or quantisers speak of stand in the tensors of nn/weight_codec.h.
/// The model is float64 if any of its tensors is, else float32 (float16 and bfloat16 are widened).
/// Checkpoints of training load as the model they hold. Errors, naming the file and the tensor: missing,
/// surplus or misshapen tensors, numbers that are not finite, and metadata that changes the network's
/// function in a way that this version does not know (see check_known_defences and nn/coding.h).
Model load_model(const std::string& path);
/// Replaces `path` atomically. Errors: numbers that are not finite, which load_model would refuse; an input
/// transform that no entry of `defences` tells of, without which load_model would return another function.
void save_model(const std::string& path, const Model& model);

/// The same between a model and an archive; `name` opens error messages.
Model model_from_archive(const Archive& archive, const std::string& name);
Archive archive_of(const Model& model);

/// Some metadata says that the stored weights are not the whole function: `defences` holds a JSON list of
/// objects with a "method" (`quantisers` and `masks` too: nn/coding.h). Evaluating such a model while
/// ignoring one of them would give wrong numbers quietly, so a method that this version does not know is an
/// Error. Known: the defences that are in the weights already ("gi1", "gi2", "gi3", "logits-augmentation",
/// "distill", "adversarial-training", "hash-classifier"), those that draw at every answer ("gi3", "dropout"
/// and what the program added: nn/draw_methods.h), and those of nn/input_transform.h, which the model is
/// built with.
void check_known_defences(const std::map<std::string, std::string>& metadata, const std::string& name);

/// Throws, opening with `what`, at the first value that is infinite or NaN.
void check_finite(const Tensor& tensor, const std::string& what);

}  // namespace hashgrad
