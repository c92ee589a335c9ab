#include "datasets/digit_glyphs.h"

#include <array>
#include <cstddef>

namespace hashgrad {
namespace {

using Glyphs = std::vector<Glyph>;

Glyphs zero() {
  const Stroke oval{{.55f, .02f}, {.25f, .12f}, {.10f, .50f}, {.22f, .87f}, {.50f, .98f},
                    {.78f, .86f}, {.90f, .48f}, {.76f, .12f}, {.50f, .03f}};
  const Stroke overlapping{{.62f, .10f}, {.40f, .03f}, {.14f, .30f}, {.14f, .72f}, {.42f, .98f},
                           {.78f, .84f}, {.88f, .45f}, {.70f, .10f}, {.48f, .06f}, {.36f, .16f}};
  const Stroke narrow{{.52f, .00f}, {.30f, .20f}, {.24f, .55f}, {.34f, .92f}, {.54f, .99f},
                      {.72f, .78f}, {.76f, .40f}, {.66f, .08f}, {.50f, .02f}};
  return {{oval}, {oval}, {overlapping}, {narrow}};
}

Glyphs one() {
  const Stroke bar{{.50f, .00f}, {.50f, .50f}, {.50f, 1.0f}};
  const Stroke bent{{.54f, .00f}, {.50f, .35f}, {.47f, .70f}, {.49f, 1.0f}};
  const Stroke flag{{.34f, .22f}, {.45f, .12f}, {.54f, .00f}};
  const Stroke foot{{.30f, 1.0f}, {.50f, .99f}, {.72f, 1.0f}};
  return {{bar}, {bar}, {bent}, {bent}, {flag, bent}, {flag, bent, foot}};
}

Glyphs two() {
  const Stroke hook{{.14f, .24f}, {.30f, .05f}, {.60f, .02f}, {.82f, .20f},
                    {.74f, .46f}, {.44f, .74f}, {.12f, .97f}};
  const Stroke base{{.12f, .97f}, {.45f, .96f}, {.90f, .98f}};
  const Stroke looped{{.16f, .20f}, {.42f, .02f}, {.76f, .12f}, {.80f, .36f}, {.56f, .66f}, {.26f, .92f},
                      {.10f, .90f}, {.16f, .76f}, {.36f, .80f}, {.60f, .94f}, {.92f, .90f}};
  const Stroke swan{{.20f, .18f}, {.48f, .00f}, {.74f, .14f}, {.72f, .40f}, {.46f, .72f}, {.18f, .94f}};
  const Stroke wave{{.18f, .94f}, {.40f, .86f}, {.62f, .96f}, {.88f, .88f}};
  return {{hook, base}, {hook, base}, {looped}, {swan, wave}};
}

Glyphs three() {
  const Stroke upper{{.16f, .14f}, {.40f, .01f}, {.72f, .06f}, {.78f, .26f}, {.62f, .44f}, {.38f, .49f}};
  const Stroke lower{{.38f, .49f}, {.68f, .52f}, {.86f, .70f}, {.74f, .92f}, {.42f, 1.0f}, {.12f, .88f}};
  const Stroke single{{.18f, .10f}, {.48f, .00f}, {.76f, .14f}, {.68f, .38f}, {.46f, .48f},
                      {.74f, .60f}, {.82f, .80f}, {.56f, .98f}, {.20f, .94f}};
  const Stroke roof{{.18f, .04f}, {.50f, .03f}, {.80f, .02f}};
  const Stroke ramp{{.80f, .02f}, {.60f, .22f}, {.42f, .42f}};
  const Stroke belly{{.42f, .42f}, {.72f, .48f}, {.84f, .70f}, {.66f, .94f}, {.36f, .98f}, {.14f, .86f}};
  return {{upper, lower}, {upper, lower}, {single}, {roof, ramp, belly}};
}

Glyphs four() {
  const Stroke angle_down{{.26f, .02f}, {.20f, .30f}, {.16f, .56f}};
  const Stroke angle_across{{.16f, .56f}, {.48f, .57f}, {.88f, .52f}};
  const Stroke stem{{.74f, .06f}, {.70f, .50f}, {.66f, 1.0f}};
  const Stroke slope{{.66f, .00f}, {.38f, .34f}, {.08f, .64f}};
  const Stroke shelf{{.08f, .64f}, {.48f, .64f}, {.92f, .62f}};
  const Stroke tall{{.66f, .00f}, {.66f, .50f}, {.66f, 1.0f}};
  const Stroke cup{{.18f, .04f}, {.12f, .36f}, {.28f, .54f}, {.56f, .48f}, {.80f, .28f}};
  const Stroke leaning{{.86f, .00f}, {.78f, .40f}, {.68f, 1.0f}};
  return {{angle_down, angle_across, stem},
          {angle_down, angle_across, stem},
          {slope, shelf, tall},
          {cup, leaning}};
}

Glyphs five() {
  const Stroke bar{{.26f, .04f}, {.55f, .04f}, {.86f, .02f}};
  const Stroke drop{{.26f, .04f}, {.23f, .24f}, {.20f, .44f}};
  const Stroke bowl{{.20f, .44f}, {.50f, .36f}, {.80f, .52f}, {.82f, .78f}, {.54f, .98f}, {.12f, .90f}};
  const Stroke flowing{{.84f, .04f}, {.50f, .06f}, {.30f, .16f}, {.28f, .36f}, {.56f, .44f},
                       {.76f, .62f}, {.66f, .88f}, {.38f, .99f}, {.12f, .92f}};
  const Stroke wide_bowl{{.22f, .46f}, {.58f, .42f}, {.84f, .62f}, {.70f, .90f}, {.40f, .98f}, {.16f, .86f}};
  return {{bar, drop, bowl}, {bar, drop, bowl}, {flowing}, {bar, drop, wide_bowl}};
}

Glyphs six() {
  const Stroke curl{{.66f, .02f}, {.36f, .22f}, {.16f, .58f}, {.24f, .90f}, {.52f, .98f},
                    {.78f, .80f}, {.70f, .56f}, {.44f, .54f}, {.22f, .74f}};
  const Stroke upright{{.40f, .00f}, {.22f, .36f}, {.18f, .74f}, {.40f, .98f},
                       {.72f, .90f}, {.78f, .66f}, {.54f, .52f}, {.26f, .64f}};
  const Stroke big_belly{{.76f, .06f}, {.44f, .10f}, {.18f, .42f}, {.14f, .76f}, {.40f, .98f},
                         {.74f, .88f}, {.84f, .60f}, {.60f, .42f}, {.30f, .52f}, {.18f, .70f}};
  return {{curl}, {curl}, {upright}, {big_belly}};
}

Glyphs seven() {
  const Stroke roof{{.12f, .06f}, {.48f, .06f}, {.86f, .04f}};
  const Stroke leg{{.86f, .04f}, {.64f, .44f}, {.44f, 1.0f}};
  const Stroke bowed{{.86f, .04f}, {.68f, .26f}, {.54f, .60f}, {.50f, 1.0f}};
  const Stroke serif{{.12f, .18f}, {.12f, .12f}, {.12f, .06f}};
  const Stroke bar{{.36f, .52f}, {.60f, .50f}, {.82f, .50f}};
  const Stroke round{{.14f, .20f}, {.26f, .06f}, {.56f, .08f}, {.82f, .06f},
                     {.72f, .34f}, {.52f, .66f}, {.40f, 1.0f}};
  return {{roof, leg}, {roof, leg}, {roof, bowed}, {serif, roof, leg}, {roof, leg, bar}, {round}};
}

Glyphs eight() {
  const Stroke crossed{{.74f, .12f}, {.46f, .01f}, {.22f, .18f}, {.40f, .42f}, {.72f, .62f}, {.78f, .84f},
                       {.48f, .99f}, {.20f, .82f}, {.30f, .58f}, {.62f, .36f}, {.76f, .16f}, {.62f, .04f}};
  const Stroke upper{{.50f, .48f}, {.24f, .30f}, {.32f, .06f}, {.60f, .02f},
                     {.76f, .20f}, {.66f, .40f}, {.48f, .48f}};
  const Stroke lower{{.50f, .48f}, {.20f, .66f}, {.22f, .92f}, {.52f, .99f},
                     {.82f, .88f}, {.78f, .62f}, {.48f, .48f}};
  return {{crossed}, {crossed}, {upper, lower}};
}

Glyphs nine() {
  const Stroke loop{{.78f, .16f}, {.50f, .01f}, {.22f, .18f}, {.26f, .44f}, {.54f, .48f}, {.78f, .20f}};
  const Stroke stem{{.78f, .14f}, {.74f, .55f}, {.68f, 1.0f}};
  const Stroke tail{{.78f, .14f}, {.80f, .48f}, {.70f, .82f}, {.46f, .99f}, {.22f, .90f}};
  const Stroke single{{.70f, .10f}, {.40f, .04f}, {.20f, .26f}, {.38f, .48f}, {.66f, .36f},
                      {.76f, .12f}, {.74f, .40f}, {.64f, .72f}, {.50f, 1.0f}};
  return {{loop, stem}, {loop, stem}, {loop, tail}, {single}};
}

}  // namespace

const std::vector<Glyph>& glyphs_of(int digit) {
  static const std::array<Glyphs, 10> all{zero(), one(), two(),   three(), four(),
                                          five(), six(), seven(), eight(), nine()};
  return all.at(static_cast<size_t>(digit));
}

}  // namespace hashgrad
