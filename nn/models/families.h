// Networks that are generated: each function makes the spec of one member, as its settings say. Parameters
// have torchvision's names.
#pragma once

#include <string>

#include "nn/models/settings.h"

namespace hashgrad {

/// He, Zhang, Ren and Sun, CVPR 2016, in the form of torchvision: a bottleneck strides in its 3x3
/// convolution. `depth` is 18, 34, 50 or 101.
/// Settings: stem=cifar (3x3, stride 1, no pooling; 3x32x32, 10 classes) or imagenet (7x7, stride 2, pooling;
/// 3x224x224, 1000 classes), size, and those of classifier_tokens().
std::string resnet(int depth, NetworkSettings& settings);

/// Simonyan and Zisserman, ICLR 2015, configurations A, B, D and E: `depth` is 11, 13, 16 or 19.
/// Settings: size=32, classes=10, bn, and fc=4096, the width of the two hidden layers (0: there are none).
/// With size=224 and classes=1000 it is torchvision's network.
std::string vgg(int depth, NetworkSettings& settings);

/// Szegedy et al., CVPR 2016, in the form of torchvision, without its auxiliary classifier, which inference
/// does not use. Settings: size=299 (75 at least) and those of classifier_tokens().
std::string inception_v3(NetworkSettings& settings);

}  // namespace hashgrad
