#include "datasets/split.h"

#include "core/error.h"

namespace hashgrad {

Split parse_split(const std::string& text) {
  if (text == "train") return Split::train;
  if (text == "test") return Split::test;
  fail("split: '{}' is unknown (accepted: train, test)", text);
}

}  // namespace hashgrad
