// Named tensors and string metadata in one safetensors file: models, checkpoints, adversarial batches.
#pragma once

#include <map>
#include <string>

#include "core/tensor.h"

namespace hashgrad {

struct Archive {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;

  /// The named tensor, or an Error that lists what there is; `what` (a file name) opens the message.
  const Tensor& at(const std::string& name, const std::string& what) const;
  /// Copies the named tensor into `into`, on any device; an Error unless it is of its shape and type.
  void restore(const std::string& name, const std::string& what, Tensor into) const;
};

/// Reads any producer's safetensors file. F16 and BF16 become float32; I8, I16, I32, U16, U32, U64 and BOOL
/// become int64. Every size and offset is checked against the file before anything is allocated, and no name
/// may stand twice; a fault is an Error with path, tensor and what was expected.
Archive read_archive(const std::string& path);

/// What a metadata value becomes in a file, which holds UTF-8 only: bytes that are none, as in the names of
/// some files, are replaced by U+FFFD.
std::string as_recorded(const std::string& text);

/// Replaces `path` atomically. Tensors, on any device, are written in name order; the data begins at a
/// multiple of 64 bytes.
void write_archive(const std::string& path, const Archive& archive);

/// What read_archive and write_archive do, on bytes; `name` opens error messages.
Archive parse_archive(const std::string& bytes, const std::string& name);
std::string serialise_archive(const Archive& archive);

}  // namespace hashgrad
