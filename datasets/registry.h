// Datasets by name, as the command line takes them.
#pragma once

#include <string>

#include "datasets/dataset.h"
#include "datasets/image_folder.h"
#include "datasets/split.h"

namespace hashgrad {

struct DataOptions {
  std::string data_dir;  ///< searched before $HASHGRAD_DATA and ~/.cache/hashgrad/data
  int64_t first = 0;     ///< keep the first N samples; 0 keeps all
  ImageSize resize;      ///< for image folders
  uint64_t seed = 0;     ///< for synthetic-digits
};

/// What load_dataset accepts, for help texts and messages.
inline constexpr const char* accepted_datasets =
    "mnist, fashion-mnist, cifar10, imagenet50, imagefolder:DIR, synthetic-digits, FILE.safetensors";

/// An Error unless `name` is one of accepted_datasets; whether its files are there is not looked at.
void check_dataset_name(const std::string& name);

/// Loads by name: one of accepted_datasets. imagefolder:DIR reads DIR/train, or DIR/test (else DIR/val), or
/// DIR itself, for both splits, where it has none of them. A set that is missing is an Error that lists where
/// it was looked for and how to get it. Everything loaded has passed validate().
Dataset load_dataset(const std::string& name, Split split, const DataOptions& options = {});

/// Whether such a set has test images apart from its training images: not a safetensors file, nor an image
/// folder without test/ and val/. Of a named set the files are not looked for.
bool has_test_split(const std::string& name);

/// True for a named set of which both splits are found, and for synthetic-digits; nothing is read.
bool dataset_available(const std::string& name, const DataOptions& options = {});

}  // namespace hashgrad
