// Folders of JPEG and PNG files, one folder per class.
#pragma once

#include <cstdint>
#include <string>

#include "datasets/dataset.h"

namespace hashgrad {

/// Size in pixels; 0x0 means "as it is".
struct ImageSize {
  int64_t height = 0, width = 0;
};

/// Reads `dir`/<class>/*.{png,jpg,jpeg} as [N,C,H,W] uint8, decoding in parallel. Classes are the lines of
/// classes.txt (first word; looked up in `dir`, then in its parent) or else the sorted folder names; where
/// `dir` is test or val beside train, those of train. Error: a class without a folder, or a folder of no
/// class. C is 1 when all files are gray and 3 otherwise (gray ones are then expanded; an alpha channel is
/// dropped). Samples alternate between classes, sorted by name within each, so that the first N are balanced.
/// All images must have one size, unless `resize` says to which one to scale them.
Dataset read_image_folder(const std::string& dir, ImageSize resize = {});

}  // namespace hashgrad
