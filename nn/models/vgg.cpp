#include <array>

#include "core/error.h"
#include "nn/models/families.h"

namespace hashgrad {
namespace {

/// The numbers of convolutions in front of the five poolings.
std::array<int, 5> convolutions_of(int depth) {
  switch (depth) {
    case 11:
      return {1, 1, 2, 2, 2};
    case 13:
      return {2, 2, 2, 2, 2};
    case 16:
      return {2, 2, 3, 3, 3};
    case 19:
      return {2, 2, 4, 4, 4};
    default:
      fail("vgg: no network of depth {}", depth);
  }
}

/// The convolutions, numbered as torchvision's `features`, where ReLU and pooling count too.
std::string features(int depth, bool bn) {
  constexpr std::array<int, 5> widths{64, 128, 256, 512, 512};
  const std::array<int, 5> convolutions = convolutions_of(depth);
  std::string text;
  int number = 0;
  for (size_t stage = 0; stage < widths.size(); ++stage) {
    for (int i = 0; i < convolutions[stage]; ++i) {
      text += fmt::format(" conv{}k3p1:features.{}", widths[stage], number++);
      if (bn) text += fmt::format(" bn:features.{}", number++);
      text += " relu";
      ++number;
    }
    text += " maxpool2";
    ++number;
  }
  return text;
}

}  // namespace

std::string vgg(int depth, NetworkSettings& settings) {
  const int64_t classes = settings.number("classes", 10), hidden = settings.number("fc", 4096, 0);
  std::string text = fmt::format("3x{0}x{0}", settings.number("size", 32));
  text += features(depth, settings.flag("bn")) + " flatten";
  if (hidden == 0) return text + fmt::format(" fc{}:classifier", classes);
  return text +
         fmt::format(
             " fc{0}:classifier.0 relu dropout0.5 fc{0}:classifier.3 relu dropout0.5 fc{1}:classifier.6",
             hidden, classes);
}

}  // namespace hashgrad
