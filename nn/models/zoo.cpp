#include "nn/models/zoo.h"

namespace hashgrad {
namespace {

// Where a paper leaves them open: convolutions keep the size of the image ("SAME") unless stated, an
// activation is ReLU, pooling is 2x2 with stride 2.
const std::string vgg16_features =
    "3x32x32 conv64k3p1 relu conv64k3p1 relu maxpool2 conv128k3p1 relu conv128k3p1 relu maxpool2 "
    "conv256k3p1 relu conv256k3p1 relu conv256k3p1 relu maxpool2 "
    "conv512k3p1 relu conv512k3p1 relu conv512k3p1 relu maxpool2 "
    "conv512k3p1 relu conv512k3p1 relu conv512k3p1 relu maxpool2 flatten ";
const std::string vgg19_features =
    "3x32x32 conv64k3p1 relu conv64k3p1 relu maxpool2 conv128k3p1 relu conv128k3p1 relu maxpool2 "
    "conv256k3p1 relu conv256k3p1 relu conv256k3p1 relu conv256k3p1 relu maxpool2 "
    "conv512k3p1 relu conv512k3p1 relu conv512k3p1 relu conv512k3p1 relu maxpool2 "
    "conv512k3p1 relu conv512k3p1 relu conv512k3p1 relu conv512k3p1 relu maxpool2 flatten ";

}  // namespace

const std::vector<ZooEntry>& zoo() {
  static const std::vector<ZooEntry> entries{
      {"carlini-cifar",
       "3x32x32 conv64k3 relu conv64k3 relu maxpool2 conv128k3 relu conv128k3 relu maxpool2 "
       "flatten fc256 relu dropout0.5 fc256 relu fc10",
       1147978, "Carlini and Wagner, S&P 2017, Table I"},
      {"carlini-mnist",
       "1x28x28 conv32k3 relu conv32k3 relu maxpool2 conv64k3 relu conv64k3 relu maxpool2 "
       "flatten fc200 relu dropout0.5 fc200 relu fc10",
       312202, "Carlini and Wagner, S&P 2017, Table I"},
      {"fast-at-mnist", "1x28x28 conv16k4p1s2 relu conv32k4p1s2 relu flatten fc100 relu fc10", 166406,
       "Wong, Rice and Kolter, ICLR 2020, the MNIST network"},
      {"lenet5",
       "1x28x28 norm(0.5;0.5) conv20k5 relu maxpool2 conv50k5 relu maxpool2 flatten dropout0.5 fc500 relu "
       "fc10",
       431080, "Zhao et al., SysML 2019 (C4): pixels mapped to [-1,1]"},
      {"liu2018-dnn1",
       "3x32x32 conv64k3p1 relu conv64k3p1 relu maxpool2 conv128k3p1 relu conv128k3p1 relu maxpool2 "
       "flatten fc512 relu fc10",
       4460106, "Liu et al., ASP-DAC 2018, Table I (A4); widths are not in the paper"},
      {"liu2018-dnn2",
       "3x32x32 conv64k3p1 relu conv64k3p1 relu maxpool2 conv128k3p1 relu conv128k3p1 relu maxpool2 "
       "conv256k3p1 relu conv256k3p1 relu maxpool2 flatten fc512 relu fc10",
       3248202, "Liu et al., ASP-DAC 2018, Table I (A4); widths are not in the paper"},
      {"liu2018-dnn3",
       "3x32x32 conv64k3p1 relu conv64k3p1 relu conv64k3p1 relu maxpool2 "
       "conv128k3p1 relu conv128k3p1 relu conv128k3p1 relu maxpool2 "
       "conv256k3p1 relu conv256k3p1 relu conv256k3p1 relu maxpool2 flatten fc512 relu fc10",
       4022794, "Liu et al., ASP-DAC 2018, Table I (A4); widths are not in the paper"},
      {"liu2018-mnist", "1x28x28 conv64k5p2 relu maxpool2 conv128k5p2 relu maxpool2 flatten fc512 relu fc10",
       3423498, "Liu et al., ASP-DAC 2018, 784-C64-C128-F512-10 (A2); kernels of 5 are our reading"},
      {"liu2018-vgg16", vgg16_features + "fc512 relu dropout0.5 fc512 relu dropout0.5 fc10", 15245130,
       "Liu et al., ASP-DAC 2018, Table I (A4): VGG-16 with three fully connected layers"},
      {"liu2021-cifar", vgg19_features + "fc4096 relu dropout0.5 fc4096 relu dropout0.5 fc10", 38947914,
       "Liu and Wen, TNNLS 2021, VGG-19 (B3); the widths 4096 follow from the paper's rates"},
      {"liu2021-mnist",
       "1x28x28 conv64k3p1 relu conv128k3p1 relu maxpool2 conv128k3p1 relu conv64k3p1 relu maxpool2 "
       "flatten fc256 relu fc256 relu fc10",
       1167306, "Liu and Wen, TNNLS 2021, the MNIST network (B2)"},
      {"madry-mnist", "1x28x28 conv32k5p2 relu maxpool2 conv64k5p2 relu maxpool2 flatten fc1024 relu fc10",
       3274634, "Madry et al., ICLR 2018, the MNIST challenge"},
      {"substitute-cifar",
       "3x32x32 conv32k5p2 relu maxpool2 conv32k5p2 relu maxpool2 flatten fc512 relu fc10", 1082282,
       "Liu and Wen, TNNLS 2021, substitute model (B6); the pooling is our reading"},
      {"substitute-mnist", "1x28x28 flatten fc1000 relu fc1000 relu fc10", 1796010,
       "Liu and Wen, TNNLS 2021, substitute model (B6)"},
      {"wang2018-cifar",
       "3x32x32 conv64k3p1 relu conv64k3p1 relu maxpool2 conv128k3p1 relu conv128k3p1 relu maxpool2 "
       "flatten fc256 relu fc256 relu fc10",
       2425930, "Wang et al., GlobalSIP 2018, C0 (D5)"},
      {"wang2018-mnist",
       "1x28x28 conv32k3p1 relu conv32k3p1 relu maxpool2 conv64k3p1 relu conv64k3p1 relu maxpool2 "
       "flatten fc200 relu fc200 relu fc10",
       734602, "Wang et al., GlobalSIP 2018, M0 (D5)"},
  };
  return entries;
}

const ZooEntry* find_in_zoo(const std::string& name) {
  for (const ZooEntry& entry : zoo())
    if (entry.name == name) return &entry;
  return nullptr;
}

}  // namespace hashgrad
