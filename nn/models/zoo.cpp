#include "nn/models/zoo.h"

#include "core/error.h"
#include "nn/models/families.h"

namespace hashgrad {
namespace {

/// A generated network; its spec is made of the defaults.
ZooEntry family(const std::string& name, int64_t parameters, const std::string& source,
                const std::string& settings, std::function<std::string(NetworkSettings&)> build) {
  NetworkSettings defaults(name, "");
  return {name, to_string(parse_spec(build(defaults))), parameters, source, settings, std::move(build)};
}

ZooEntry resnet_entry(int depth, int64_t parameters) {
  return family(fmt::format("resnet{}", depth), parameters,
                "He et al., CVPR 2016; Liu and Wen, TNNLS 2021. Parameters have torchvision's names",
                "classes=10,stem=cifar|imagenet,size=32,fc=512@1/8192,rate=1/256",
                [depth](NetworkSettings& settings) { return resnet(depth, settings); });
}

ZooEntry vgg_entry(int depth, int64_t parameters) {
  return family(fmt::format("vgg{}", depth), parameters,
                "Simonyan and Zisserman, ICLR 2015. Parameters have torchvision's names",
                "classes=10,size=32,fc=4096,bn",
                [depth](NetworkSettings& settings) { return vgg(depth, settings); });
}

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
      {"cifarnet",
       "3x32x32 standardise conv64k3nb bn(eps=0.001) relu conv64k3p1nb bn(eps=0.001) relu "
       "conv128k3p1s2nb bn(eps=0.001) relu conv128k3p1nb bn(eps=0.001) relu dropout0.5 "
       "conv128k3p1nb bn(eps=0.001) relu conv192k3p1s2nb bn(eps=0.001) relu "
       "conv192k3p1nb bn(eps=0.001) relu dropout0.5 conv192k3p1nb bn(eps=0.001) relu "
       "avgpool8 conv10k1 flatten",
       1296074,
       "Zhao et al., SysML 2019. TensorFlow pads the first strided convolution on one side only, this "
       "one on both; its running statistics move by 0.0003, here by 0.1"},
      {"fast-at-mnist", "1x28x28 conv16k4p1s2 relu conv32k4p1s2 relu flatten fc100 relu fc10", 166406,
       "Wong, Rice and Kolter, ICLR 2020, the MNIST network"},
      family("inception-v3", 23834568,
             "Szegedy et al., CVPR 2016; Liu and Wen, TNNLS 2021, with 50 classes. Parameters have "
             "torchvision's names; without the auxiliary classifier",
             "classes=1000,size=299,fc=512@1/8192,rate=1/256", inception_v3),
      {"lenet5",
       "1x28x28 norm(0.5;0.5) conv20k5 relu maxpool2 conv50k5 relu maxpool2 flatten dropout0.5 fc500 relu "
       "fc10",
       431080, "Zhao et al., SysML 2019: pixels mapped to [-1,1]"},
      {"liu2018-dnn1",
       "3x32x32 conv64k3p1 relu conv64k3p1 relu maxpool2 conv128k3p1 relu conv128k3p1 relu maxpool2 "
       "flatten fc512 relu fc10",
       4460106, "Liu et al., ASP-DAC 2018, Table I; widths are not in the paper"},
      {"liu2018-dnn2",
       "3x32x32 conv64k3p1 relu conv64k3p1 relu maxpool2 conv128k3p1 relu conv128k3p1 relu maxpool2 "
       "conv256k3p1 relu conv256k3p1 relu maxpool2 flatten fc512 relu fc10",
       3248202, "Liu et al., ASP-DAC 2018, Table I; widths are not in the paper"},
      {"liu2018-dnn3",
       "3x32x32 conv64k3p1 relu conv64k3p1 relu conv64k3p1 relu maxpool2 "
       "conv128k3p1 relu conv128k3p1 relu conv128k3p1 relu maxpool2 "
       "conv256k3p1 relu conv256k3p1 relu conv256k3p1 relu maxpool2 flatten fc512 relu fc10",
       4022794, "Liu et al., ASP-DAC 2018, Table I; widths are not in the paper"},
      {"liu2018-mnist", "1x28x28 conv64k5p2 relu maxpool2 conv128k5p2 relu maxpool2 flatten fc512 relu fc10",
       3423498, "Liu et al., ASP-DAC 2018, 784-C64-C128-F512-10; kernels of 5 are our reading"},
      {"liu2018-vgg16", vgg16_features + "fc512 relu dropout0.5 fc512 relu dropout0.5 fc10", 15245130,
       "Liu et al., ASP-DAC 2018, Table I: VGG-16 with three fully connected layers"},
      {"liu2021-and", "1x1x2 flatten fc16 relu fc16 relu fc2", 354,
       "Liu and Wen, TNNLS 2021, the logical AND of two numbers; the hidden layers are ours"},
      {"liu2021-cifar", vgg19_features + "fc4096 relu dropout0.5 fc4096 relu dropout0.5 fc10", 38947914,
       "Liu and Wen, TNNLS 2021, VGG-19; the widths 4096 follow from the paper's rates"},
      {"liu2021-mnist",
       "1x28x28 conv64k3p1 relu conv128k3p1 relu maxpool2 conv128k3p1 relu conv64k3p1 relu maxpool2 "
       "flatten fc256 relu fc256 relu fc10",
       1167306, "Liu and Wen, TNNLS 2021, the MNIST network"},
      {"madry-mnist", "1x28x28 conv32k5p2 relu maxpool2 conv64k5p2 relu maxpool2 flatten fc1024 relu fc10",
       3274634, "Madry et al., ICLR 2018, the MNIST challenge"},
      resnet_entry(101, 42512970),
      resnet_entry(18, 11173962),
      resnet_entry(34, 21282122),
      resnet_entry(50, 23520842),
      {"resnet9",
       "3x32x32 conv64k3p1nb bn relu conv128k3p1nb bn relu maxpool2 "
       "=a conv128k3p1nb bn relu conv128k3p1nb bn relu +a conv256k3p1nb bn relu maxpool2 "
       "conv512k3p1nb bn relu maxpool2 =b conv512k3p1nb bn relu conv512k3p1nb bn relu +b "
       "maxpool4 flatten fc10nb scale0.125",
       6573120, "Page, cifar10-fast (DAWNBench), with batch norm's scale trained"},
      {"substitute-cifar",
       "3x32x32 conv32k5p2 relu maxpool2 conv32k5p2 relu maxpool2 flatten fc512 relu fc10", 1082282,
       "Liu and Wen, TNNLS 2021, substitute model; the pooling is our reading"},
      {"substitute-mnist", "1x28x28 flatten fc1000 relu fc1000 relu fc10", 1796010,
       "Liu and Wen, TNNLS 2021, substitute model"},
      vgg_entry(11, 28144010),
      vgg_entry(13, 28328522),
      vgg_entry(16, 33638218),
      vgg_entry(19, 38947914),
      {"wang2018-cifar",
       "3x32x32 conv64k3p1 relu conv64k3p1 relu maxpool2 conv128k3p1 relu conv128k3p1 relu maxpool2 "
       "flatten fc256 relu fc256 relu fc10",
       2425930, "Wang et al., GlobalSIP 2018, C0"},
      {"wang2018-mnist",
       "1x28x28 conv32k3p1 relu conv32k3p1 relu maxpool2 conv64k3p1 relu conv64k3p1 relu maxpool2 "
       "flatten fc200 relu fc200 relu fc10",
       734602, "Wang et al., GlobalSIP 2018, M0"},
  };
  return entries;
}

const ZooEntry* find_in_zoo(const std::string& name) {
  for (const ZooEntry& entry : zoo())
    if (entry.name == name) return &entry;
  return nullptr;
}

Spec spec_of(const std::string& text) {
  const size_t open = text.find('(');
  const ZooEntry* entry = find_in_zoo(text.substr(0, open));
  if (!entry) return parse_spec(text);
  if (open == std::string::npos) return parse_spec(entry->spec);
  check(entry->build != nullptr, "{}: takes no settings", entry->name);
  check(text.ends_with(')'), "{}: '{}' needs its ')'", entry->name, text);
  NetworkSettings settings(entry->name, text.substr(open + 1, text.size() - open - 2));
  const std::string spec = entry->build(settings);
  settings.finish();
  return parse_spec(spec);
}

}  // namespace hashgrad
