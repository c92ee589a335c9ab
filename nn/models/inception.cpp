#include <vector>

#include "core/error.h"
#include "nn/models/families.h"

namespace hashgrad {
namespace {

/// Convolution, batch norm and ReLU, in tokens. `window`: kernel and options, as "3p1s2".
std::string unit(int out, const char* window, const std::string& name) {
  return fmt::format(" conv{}k{}nb:{}.conv bn(eps=0.001):{}.bn relu", out, window, name, name);
}

/// The channels of several branches, each of which starts at the current value. `label`: for the values.
std::string parallel(const std::string& label, const std::vector<std::string>& branches) {
  std::string text = " =" + label, outputs;
  for (size_t i = 0; i < branches.size(); ++i) {
    const std::string output = fmt::format("{}.{}", label, i);
    text += fmt::format("{}{} ={}", i > 0 ? " <" + label : "", branches[i], output);
    outputs += (i > 0 ? "," : "") + output;
  }
  return fmt::format("{} cat({})", text, outputs);
}

// The modules, A to E in torchvision's naming; `m` is the module's name and a dot.

std::string module_a(const std::string& name, int pooled) {
  const std::string m = name + ".";
  return parallel(name, {unit(64, "1", m + "branch1x1"),
                         unit(48, "1", m + "branch5x5_1") + unit(64, "5p2", m + "branch5x5_2"),
                         unit(64, "1", m + "branch3x3dbl_1") + unit(96, "3p1", m + "branch3x3dbl_2") +
                             unit(96, "3p1", m + "branch3x3dbl_3"),
                         " avgpool3s1p1" + unit(pooled, "1", m + "branch_pool")});
}

std::string module_b(const std::string& name) {
  const std::string m = name + ".";
  return parallel(name, {unit(384, "3s2", m + "branch3x3"),
                         unit(64, "1", m + "branch3x3dbl_1") + unit(96, "3p1", m + "branch3x3dbl_2") +
                             unit(96, "3s2", m + "branch3x3dbl_3"),
                         " maxpool3s2"});
}

std::string module_c(const std::string& name, int width) {
  const std::string m = name + ".";
  const char *row = "1x7p0x3", *column = "7x1p3x0";
  return parallel(name, {unit(192, "1", m + "branch1x1"),
                         unit(width, "1", m + "branch7x7_1") + unit(width, row, m + "branch7x7_2") +
                             unit(192, column, m + "branch7x7_3"),
                         unit(width, "1", m + "branch7x7dbl_1") + unit(width, column, m + "branch7x7dbl_2") +
                             unit(width, row, m + "branch7x7dbl_3") +
                             unit(width, column, m + "branch7x7dbl_4") + unit(192, row, m + "branch7x7dbl_5"),
                         " avgpool3s1p1" + unit(192, "1", m + "branch_pool")});
}

std::string module_d(const std::string& name) {
  const std::string m = name + ".";
  return parallel(name,
                  {unit(192, "1", m + "branch3x3_1") + unit(320, "3s2", m + "branch3x3_2"),
                   unit(192, "1", m + "branch7x7x3_1") + unit(192, "1x7p0x3", m + "branch7x7x3_2") +
                       unit(192, "7x1p3x0", m + "branch7x7x3_3") + unit(192, "3s2", m + "branch7x7x3_4"),
                   " maxpool3s2"});
}

std::string module_e(const std::string& name) {
  const std::string m = name + ".";
  const auto row_and_column = [&](const std::string& stem) {
    return parallel(m + stem, {unit(384, "1x3p0x1", m + stem + "a"), unit(384, "3x1p1x0", m + stem + "b")});
  };
  return parallel(name, {unit(320, "1", m + "branch1x1"),
                         unit(384, "1", m + "branch3x3_1") + row_and_column("branch3x3_2"),
                         unit(448, "1", m + "branch3x3dbl_1") + unit(384, "3p1", m + "branch3x3dbl_2") +
                             row_and_column("branch3x3dbl_3"),
                         " avgpool3s1p1" + unit(192, "1", m + "branch_pool")});
}

}  // namespace

std::string inception_v3(NetworkSettings& settings) {
  return fmt::format("3x{0}x{0}", settings.number("size", 299, 75)) + unit(32, "3s2", "Conv2d_1a_3x3") +
         unit(32, "3", "Conv2d_2a_3x3") + unit(64, "3p1", "Conv2d_2b_3x3") + " maxpool3s2" +
         unit(80, "1", "Conv2d_3b_1x1") + unit(192, "3", "Conv2d_4a_3x3") + " maxpool3s2" +
         module_a("Mixed_5b", 32) + module_a("Mixed_5c", 64) + module_a("Mixed_5d", 64) +
         module_b("Mixed_6a") + module_c("Mixed_6b", 128) + module_c("Mixed_6c", 160) +
         module_c("Mixed_6d", 160) + module_c("Mixed_6e", 192) + module_d("Mixed_7a") + module_e("Mixed_7b") +
         module_e("Mixed_7c") + " gap dropout0.5 flatten" + classifier_tokens(settings, 1000);
}

}  // namespace hashgrad
