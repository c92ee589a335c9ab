// The weights of networks that are only asked for a while, not trained.
#pragma once

#include <initializer_list>

#include "cpu/kept_panels.h"
#include "nn/model.h"

namespace hashgrad {

/// While one lives, the weights of these models (null: of none) do not change, so that on the CPU this thread
/// packs those of fully connected layers and of convolutions once (cpu/kept_panels.h): it saves a fully
/// connected network about a tenth of the time of an attack, a convolutional one more where it is asked about
/// few images at a time. They nest; the outermost one keeps.
class FixedWeights {
 public:
  explicit FixedWeights(std::initializer_list<const Model*> models);

 private:
  cpu::KeepPanels panels_;
};

}  // namespace hashgrad
