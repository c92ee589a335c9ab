// How people write the ten digits: pen strokes through a few points.
#pragma once

#include <vector>

namespace hashgrad {

struct Point {
  float x = 0, y = 0;
};

/// The pen goes smoothly through these points; a corner is the end of one stroke and the start of another.
using Stroke = std::vector<Point>;
/// One way to write a digit, in a box of about 1 x 1, x to the right and y down.
using Glyph = std::vector<Stroke>;

/// The ways to write a digit, 0 to 9; the commoner ones stand more than once.
const std::vector<Glyph>& glyphs_of(int digit);

}  // namespace hashgrad
