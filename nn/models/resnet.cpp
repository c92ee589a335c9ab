#include <array>

#include "core/error.h"
#include "nn/models/families.h"

namespace hashgrad {
namespace {

/// Convolution and batch norm, in tokens.
std::string conv_bn(int64_t out, int64_t kernel, int64_t stride, const std::string& conv,
                    const std::string& bn) {
  return fmt::format(" conv{}k{}p{}s{}nb:{} bn:{}", out, kernel, kernel / 2, stride, conv, bn);
}

struct Block {
  std::string name;  // "layer1.0"
  int64_t in, width, stride;
  bool bottleneck;

  int64_t out() const { return bottleneck ? 4 * width : width; }
  std::string unit(int number, int64_t channels, int64_t kernel, int64_t its_stride) const {
    return conv_bn(channels, kernel, its_stride, fmt::format("{}.conv{}", name, number),
                   fmt::format("{}.bn{}", name, number));
  }
};

/// What is added to the block's input.
std::string residual(const Block& b) {
  if (!b.bottleneck) return b.unit(1, b.width, 3, b.stride) + " relu" + b.unit(2, b.width, 3, 1);
  return b.unit(1, b.width, 1, 1) + " relu" + b.unit(2, b.width, 3, b.stride) + " relu" +
         b.unit(3, b.out(), 1, 1);
}

std::string block(const Block& b) {
  if (b.stride == 1 && b.in == b.out()) return fmt::format(" ={0}{1} +{0} relu", b.name, residual(b));
  const std::string projection =
      conv_bn(b.out(), 1, b.stride, b.name + ".downsample.0", b.name + ".downsample.1");
  return fmt::format(" ={0}{1} ={0}.residual <{0}{2} +{0}.residual relu", b.name, residual(b), projection);
}

/// The numbers of blocks of the four stages.
std::array<int, 4> blocks_of(int depth) {
  switch (depth) {
    case 18:
      return {2, 2, 2, 2};
    case 34:
    case 50:
      return {3, 4, 6, 3};
    case 101:
      return {3, 4, 23, 3};
    default:
      fail("resnet: no network of depth {}", depth);
  }
}

}  // namespace

std::string resnet(int depth, NetworkSettings& settings) {
  const bool imagenet = settings.word("stem", {"cifar", "imagenet"}) == "imagenet";
  std::string text = fmt::format("3x{0}x{0}", settings.number("size", imagenet ? 224 : 32));
  text += imagenet ? " conv64k7p3s2nb:conv1 bn:bn1 relu maxpool3s2p1" : " conv64k3p1nb:conv1 bn:bn1 relu";
  int64_t channels = 64;
  const std::array<int, 4> stages = blocks_of(depth);
  for (int stage = 0; stage < 4; ++stage)
    for (int i = 0; i < stages[static_cast<size_t>(stage)]; ++i) {
      const Block b{fmt::format("layer{}.{}", stage + 1, i), channels, int64_t{64} << stage,
                    i == 0 && stage > 0 ? 2 : 1, depth >= 50};
      text += block(b);
      channels = b.out();
    }
  return text + " gap flatten" + classifier_tokens(settings, imagenet ? 1000 : 10);
}

}  // namespace hashgrad
