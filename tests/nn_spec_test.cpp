#include <doctest/doctest.h>

#include "nn/models/zoo.h"
#include "nn/spec.h"
#include "tests/error_of.h"

using namespace hashgrad;

TEST_CASE("a spec is read into layers with the shapes behind them") {
  const Spec spec = parse_spec("1x28x28 conv64k5p2 relu maxpool2 flatten fc10@1/8");
  CHECK(spec.input == Shape{1, 28, 28});
  REQUIRE(spec.layers.size() == 5);
  CHECK(spec.layers[0] == LayerSpec{.kind = LayerSpec::Kind::conv, .out = 64, .kernel = 5, .padding = 2});
  CHECK(spec.layers[2] == LayerSpec{.kind = LayerSpec::Kind::max_pool, .kernel = 2, .stride = 2});
  CHECK(spec.layers[4] == LayerSpec{.kind = LayerSpec::Kind::fc, .out = 10, .rate = 0.125});
  const std::vector<Shape> shapes = layer_shapes(spec);
  CHECK(shapes == std::vector<Shape>{{1, 28, 28}, {64, 28, 28}, {64, 28, 28}, {64, 14, 14}, {12544}, {10}});
}

TEST_CASE("specs have one canonical text that reads back as itself") {
  const std::pair<const char*, const char*> cases[] = {
      {"1x28x28 flatten fc10", "1x28x28 flatten fc10"},
      {"  1x28x28\tflatten \n fc10 ", "1x28x28 flatten fc10"},
      {"3x8x8 conv4k3valid flatten fc2", "3x8x8 conv4k3 flatten fc2"},
      {"3x8x8 conv4k3p0s1 flatten fc2", "3x8x8 conv4k3 flatten fc2"},
      {"3x8x8 conv4k3s2p1nb flatten fc2", "3x8x8 conv4k3p1s2nb flatten fc2"},
      {"3x8x8 conv4k3@0.125nbp1 flatten fc2", "3x8x8 conv4k3p1nb@1/8 flatten fc2"},
      {"3x8x8 maxpool2p1 flatten fc2", "3x8x8 maxpool2p1 flatten fc2"},
      {"3x8x8 flatten fc2nb@0.3", "3x8x8 flatten fc2nb@0.3"},
      {"3x8x8 flatten fc2@1/49", "3x8x8 flatten fc2@1/49"},
      {"3x8x8 flatten fc2@1", "3x8x8 flatten fc2@1"},
      {"3x8x8 maxpool2s2 avgpool3s1p1 gap flatten fc2 softmax",
       "3x8x8 maxpool2 avgpool3p1s1 gap flatten fc2 softmax"},
      {"3x8x8 norm(0.5,0.25,0;1,2e-1,3) bn relu dropout0.50 flatten fc2",
       "3x8x8 norm(0.5,0.25,0;1,0.2,3) bn relu dropout0.5 flatten fc2"},
      {"3x8x8 standardise conv4k1x7s2p0x3 bn(eps=1e-3) relu scale0.250 flatten fc2",
       "3x8x8 standardise conv4k1x7p0x3s2 bn(eps=0.001) relu scale0.25 flatten fc2"},
      {"3x8x8 conv4k3x3p1x1 bn(eps=0.00001,momentum=0.5) bn(momentum=0.1) flatten fc2",
       "3x8x8 conv4k3p1 bn(momentum=0.5) bn flatten fc2"},
      {"3x8x8 =in-1 conv4k3p1nb:layer1.0.conv1 bn:bn_1 =b.1 <in-1 conv4k1@1/2:down +b.1 =c cat(c,c) gap "
       "flatten fc2nb:fc softmax",
       "3x8x8 =in-1 conv4k3p1nb:layer1.0.conv1 bn:bn_1 =b.1 <in-1 conv4k1@1/2:down +b.1 =c cat(c,c) gap "
       "flatten fc2nb:fc softmax"},
      {"1x28x28 norm(0.1307;0.3081) flatten flatten fc10 bn relu fc3",
       "1x28x28 norm(0.1307;0.3081) flatten flatten fc10 bn relu fc3"},
  };
  for (const auto& [text, canonical] : cases) {
    CAPTURE(text);
    const Spec spec = parse_spec(text);
    CHECK(to_string(spec) == canonical);
    CHECK(parse_spec(to_string(spec)) == spec);
  }
}

TEST_CASE("a faulty spec is an error that names the token and what is accepted") {
  const std::pair<std::string, const char*> cases[] = {
      {"", "spec: is empty"},
      {" \t ", "spec: is empty"},
      {"flatten fc10", "token 1 'flatten': channels: a number is expected"},
      {"28x28 flatten fc10", "token 1 '28x28': 'x' is missing"},
      {"1x28x28x3 flatten fc10", "characters are left over"},
      {"0x28x28 flatten fc10", "channels must be 1 to 1048576"},
      {"-1x28x28 flatten fc10", "channels must be 1 to 1048576"},
      {"1048576x1048576x1048576 flatten fc10", "more than 268435456 values"},
      {"99999999999999999999x1x1 flatten fc10", "channels must be 1 to 1048576"},
      {"1x28x28", "has no layers"},
      {"1x28x28 fc10", "token 2 'fc10': takes a vector, the layer before gives [1,28,28]; put 'flatten'"},
      {"1x28x28 conv8k3", "ends in [8,26,26], class scores [K] are expected"},
      {"1x28x28 flatten conv8k3 flatten fc2",
       "token 3 'conv8k3': takes images [C,H,W], the layer before gives [784]"},
      {"1x28x28 conv8 flatten fc10", "needs its kernel size, as in conv8k3"},
      {"1x28x28 conv0k3 flatten fc10", "output channels must be 1"},
      {"1x28x28 conv8k0 flatten fc10", "kernel must be 1"},
      {"1x28x28 conv8k3s0 flatten fc10", "stride must be 1"},
      {"1x28x28 conv8k3p-1 flatten fc10", "padding must be 0"},
      {"1x28x28 conv8k29 flatten fc10", "a window of 29x29 does not fit the image side of 28 with padding 0"},
      {"1x4x4 maxpool2 maxpool2 maxpool2 flatten fc10", "token 4 'maxpool2': a window of 2x2 does not fit"},
      {"1x28x28 maxpool flatten fc10", "pooling window: a number is expected"},
      {"1x28x28 maxpool2p2 flatten fc10", "padding 2 is more than half of the window of 2"},
      {"1x28x28 conv8k3p1p1 flatten fc10", "the padding is given twice"},
      {"1x28x28 conv8k3p1valid flatten fc10", "the padding is given twice"},
      {"1x28x28 conv8k3z flatten fc10", "'z' is left over; accepted: conv64k5p2"},
      {"1x28x28 conv8k3x flatten fc10", "kernel: a number is expected"},
      {"1x28x28 conv8k1x29 flatten fc10",
       "a window of 1x29 does not fit the image side of 28 with padding 0"},
      {"1x28x28 maxpool2p1x0 flatten fc10", "'x0' is left over"},
      {"1x28x28 bn(eps=0) flatten fc10", "eps 0 must be above 0"},
      {"1x28x28 bn(eps=1e-38) flatten fc10",
       "eps: 1e-38 is out of the range of float32, 1.18e-38 to 3.4e+38"},
      {"1x28x28 flatten fc10 scale1e-39", "scale: 1e-39 is out of the range of float32"},
      {"1x28x28 flatten fc10 scale1e39", "scale: 1e+39 is out of the range of float32"},
      {"1x28x28 norm(-1e39;1) flatten fc10", "mean: -1e+39 is out of the range of float32"},
      {"1x28x28 norm(0;1e-39) flatten fc10", "deviation: 1e-39 is out of the range of float32"},
      {"1x28x28 bn(momentum=2) flatten fc10", "momentum 2 must be above 0 and at most 1"},
      {"1x28x28 bn() flatten fc10", "bn(eps=1e-5,momentum=0.1) is expected"},
      {"1x28x28 bn(eps=1e-3 flatten fc10", "needs its ')'"},
      {"1x28x28 scale0 flatten fc10", "scale 0 must be above 0"},
      {"1x28x28 relu standardise flatten fc10", "must be the first layer"},
      {"1x28x28 =a flatten fc10", "token 2 '=a': names a value that is never used"},
      {"1x28x28 =a +a =a +a flatten fc10", "token 4 '=a': 'a' is the name of another value already"},
      {"1x28x28 relu +a flatten fc10", "token 3 '+a': no value before it has the name 'a'"},
      {"1x28x28 <a flatten fc10", "token 2 '<a': no value before it has the name 'a'"},
      {"1x28x28 relu +b =b flatten fc10", "token 3 '+b': no value before it has the name 'b'"},
      {"1x28x28 =a conv4k3 <a flatten fc10",
       "token 4 '<a': the value before it would be lost; name it first"},
      {"1x28x28 =a relu cat(a,a) flatten fc10", "the value before it would be lost"},
      {"1x28x28 =a conv4k3 +a flatten fc10", "token 4 '+a': adds [1,28,28] to [4,26,26], equal shapes"},
      {"1x28x28 =a maxpool2 =b cat(a,b) flatten fc10", "joins [1,28,28] and [1,14,14], which differ"},
      {"1x28x28 =a flatten =b cat(a,b) fc10", "joins [1,28,28] and [784], which differ"},
      {"1x28x28 =a cat(a) flatten fc10", "joins 1 values, 2 to 64 are accepted"},
      {"1x28x28 =a cat(a,a flatten fc10", "needs its ')'"},
      {"1x28x28 = flatten fc10", "label: a name of 1 to 100 letters"},
      {"1x28x28 =a/b flatten fc10", "'/b' is left over"},
      {"1x28x28 relu:a flatten fc10", "':a' is left over"},
      {"1x28x28 flatten fc10:", "layer name: a name of 1 to 100 letters"},
      {"1x28x28 flatten fc10:a relu fc10:a", "layers 1 and 3 are both named 'a'"},
      {"1x28x28 flatten fc10:3 relu fc10", "layers 1 and 3 are both named '3'"},
      {"1x28x28 flatten fc10:train.a", "layer 1 is named 'train.a'; 'train.' is what a checkpoint's own"},
      {"1x28x28 flatten fc10p1", "'p1' is left over"},
      {"1x28x28 flatten fc", "output units: a number is expected"},
      {"1x28x28 flatten fc-5", "output units must be 1"},
      {"1x28x28 flatten fc4.5", "'.5' is left over"},
      {"1x28x28 flatten fc99999999999999999999999", "output units must be 1 to 1048576"},
      {"1x28x28 flatten fc1048576", "token 3 'fc1048576': brings the network to 823132160 parameters"},
      {"1048576x16x16 conv1048576k16 flatten fc2", "more than 1099511627776 weights in one layer"},
      {"1x28x28 conv1k60000p30000s60000@1/100000 flatten fc10",
       "'conv1k60000p30000s60000@1/100000': pads its input to [1,60028,60028], at most 268435456 values"},
      {"1x28x28 conv1k1p131072x131071s1000 flatten fc10", "pads its input to [1,262172,262170]"},
      {"1x28x28 flatten maxpool4p2 fc10", "takes images [C,H,W], the layer before gives [784]"},
      {"1x1024x1024 conv1024k1 flatten fc10", "1073741824 values behind the layer, at most 268435456"},
      {"1x28x28 flatten fc10@0", "compression rate is 0, it must be above 0"},
      {"1x28x28 flatten fc10@2", "compression rate is 2, it must be above 0 and at most 1"},
      {"1x28x28 flatten fc10@1/0", "compression rate is inf"},
      {"1x28x28 flatten fc10@-1/8", "compression rate is -0.125"},
      {"1x28x28 flatten fc10@nan", "compression rate: a number is expected"},
      {"1x28x28 flatten fc10@1/", "compression rate: a number is expected"},
      {"1x28x28 flatten fc10@1/8@1/8", "the compression rate is given twice"},
      {"1x28x28 dropout0 flatten fc10", "dropout 0 must be above 0 and below 1"},
      {"1x28x28 dropout1 flatten fc10", "dropout 1 must be above 0 and below 1"},
      {"1x28x28 dropout flatten fc10", "dropout: a number is expected"},
      {"1x28x28 norm(0.1) flatten fc10", "needs a ';'"},
      {"1x28x28 norm(0.1;0.3 flatten fc10", "needs its ')'"},
      {"1x28x28 norm(0.1;0) flatten fc10", "deviation 0 must be above 0"},
      {"1x28x28 norm(0.1,0.2;0.3) flatten fc10", "2 means and 1 deviations"},
      {"1x28x28 norm(1,1;1,1) flatten fc10", "2 means for 1 channels"},
      {"1x28x28 relu norm(0;1) flatten fc10", "must be the first layer"},
      {"1x28x28 flatten softmax fc10", "must be the last layer"},
      {"1x28x28 gelu flatten fc10", "token 2 'gelu': is not a layer; accepted: conv64k5p2"},
      {"1x28x28 Relu flatten fc10", "'Relu': is not a layer"},
      {"1x28x28 relu6 flatten fc10", "'6' is left over"},
      {"1x28x28 \x01\xff flatten fc10", "token 2 '\?\?': is not a layer"},
      {std::string("1x28x28 fl\0atten", 16), "token 2 'fl?atten': is not a layer"},
      {"1x28x28 " + std::string(100000, 'a'), "aaaa...': is not a layer"},
  };
  for (const auto& [text, phrase] : cases) {
    CAPTURE(text.substr(0, 60));
    CHECK_ERROR(parse_spec(text), phrase);
  }
}

TEST_CASE("a hundred letters name a value, and 64 values are joined, but no more") {
  const auto joined = [](size_t letters, size_t values) {
    const std::string name(letters, 'a');
    std::string text = "1x2x2 =" + name + " cat(" + name;
    for (size_t i = 1; i < values; ++i) text += "," + name;
    return parse_spec(text + ") flatten fc2");
  };
  CHECK(layer_shapes(joined(100, 64))[2] == Shape{64, 2, 2});
  CHECK_ERROR(joined(101, 2), "label: a name of 1 to 100 letters");
  CHECK_ERROR(joined(1, 65), "joins 65 values, 2 to 64 are accepted");
}

TEST_CASE("ten thousand tokens are refused, a thousand layers are not") {
  std::string text = "1x2x2 flatten";
  for (int i = 1; i < 1000; ++i) text += " relu";
  CHECK(parse_spec(text).layers.size() == 1000);
  CHECK_ERROR(parse_spec(text + " relu"), "spec: 1001 layers, at most 1000 are supported");
  for (int i = 1000; i < 10000; ++i) text += " relu";
  CHECK_ERROR(parse_spec(text), "spec: 10000 layers, at most 1000 are supported");
}

TEST_CASE("parameters are counted from the spec alone") {
  CHECK(parameter_count(parse_spec("1x28x28 flatten fc10")) == 7850);
  CHECK(parameter_count(parse_spec("1x28x28 flatten fc10nb")) == 7840);
  CHECK(parameter_count(parse_spec("3x8x8 bn conv4k3 bn flatten fc10@1/1000")) == 6 + 112 + 8 + 2 + 10);
  const Spec hashed = parse_spec("1x28x28 conv64k5p2@1/64 relu maxpool2 flatten fc512@1/64 relu fc10@1/64");
  CHECK(parameter_count(hashed) == (25 + 64) + (100352 + 512) + (80 + 10));
  CHECK(parameter_count(hashed, {.bias = true}) == (25 + 1) + (100352 + 8) + (80 + 1));
  CHECK(parameter_count(hashed, {.mode = HashMode::strat, .bias = true}) ==
        (32 + 1) + (100352 + 8) + (96 + 1));
}

TEST_CASE("shapes follow the labels, not the place in the line") {
  const std::vector<Shape> shapes = layer_shapes(parse_spec(
      "1x8x8 =a conv4k3s2p1 =b <a conv2k1 =c <a conv1k1 =g cat(c,g) conv4k3s2p1 +b =d maxpool2s2 =e "
      "<d maxpool2 =f cat(e,f) flatten fc2"));
  const Shape image{1, 8, 8}, wide{4, 4, 4}, pooled{4, 2, 2};
  const std::vector<Shape> expected{image, image,  wide,      wide,      image, {2, 8, 8}, {2, 8, 8}, image,
                                    image, image,  {3, 8, 8}, wide,      wide,  wide,      pooled,    pooled,
                                    wide,  pooled, pooled,    {8, 2, 2}, {32},  {2}};
  CHECK(shapes == expected);
}

TEST_CASE("the output layer is the one whose scale is that of the class scores") {
  const std::pair<const char*, std::optional<size_t>> cases[] = {
      {"1x4x4 flatten fc3 relu fc2", 3},      {"1x4x4 flatten fc3 relu fc2 softmax", 3},
      {"1x4x4 conv2k4 flatten scale2", 0},    {"1x4x4 flatten fc2 relu", std::nullopt},
      {"1x4x4 flatten fc2 bn", std::nullopt}, {"1x4x4 flatten =a fc2 =b <a fc2 +b", std::nullopt},
      {"1x4x4 flatten", std::nullopt},
  };
  for (const auto& [text, layer] : cases) {
    CAPTURE(text);
    CHECK(output_layer(parse_spec(text)) == layer);
  }
}

TEST_CASE("the networks of the papers have the papers' numbers of parameters") {
  for (size_t i = 0; i < zoo().size(); ++i) {
    const ZooEntry& entry = zoo()[i];
    CAPTURE(entry.name);
    CHECK(parameter_count(parse_spec(entry.spec)) == entry.parameters);
    CHECK(find_in_zoo(entry.name) == &entry);
    if (i > 0) CHECK(zoo()[i - 1].name < entry.name);
  }
  CHECK(find_in_zoo("no-such-net") == nullptr);
}

TEST_CASE("networks with settings have the numbers of parameters that the papers imply") {
  const int64_t resnet34 = 21'276'992, resnet50 = 23'500'352, resnet101 = 42'492'480;  // bodies
  const int64_t inception = 21'785'568, vgg16 = 14'714'688;
  const std::pair<const char*, int64_t> cases[] = {
      {"resnet34(fc=512)", resnet34 + 512 * 512 + 512 + 5130},
      {"resnet50(fc=512)", resnet50 + 2048 * 512 + 512 + 5130},
      {"resnet101(fc=512)", resnet101 + 2048 * 512 + 512 + 5130},
      {"resnet34(fc=512@1/8192,rate=1/256)", resnet34 + 32 + 512 + 20 + 10},
      {"resnet50(fc=512@1/8192,rate=1/256)", resnet50 + 128 + 512 + 20 + 10},
      {"resnet101(fc=512@1/8192,rate=1/256)", resnet101 + 128 + 512 + 20 + 10},
      {"resnet18(stem=imagenet)", 11'689'512},
      {"resnet34(stem=imagenet)", 21'797'672},
      {"resnet50(stem=imagenet)", 25'557'032},
      {"resnet101(stem=imagenet)", 44'549'160},
      {"inception-v3(classes=50)", inception + 2048 * 50 + 50},
      {"inception-v3(classes=50,fc=512@1/8192,rate=1/256)", inception + 128 + 512 + 100 + 50},
      {"vgg16(fc=512)", 15'245'130},
      {"vgg16(fc=0)", vgg16 + 5130},
      {"vgg16(size=224,classes=1000)", 138'357'544},
      {"vgg19(bn)", 38'947'914 + 11'008},
      {"vgg19(bn,fc=0)", 20'024'384 + 11'008 + 5130},
  };
  for (const auto& [text, count] : cases) {
    CAPTURE(text);
    CHECK(parameter_count(spec_of(text)) == count);
  }
  CHECK(parameter_count(spec_of("resnet34(fc=512)")) == 21'544'778);  // B5's three, as printed
  CHECK(parameter_count(spec_of("resnet50(fc=512)")) == 24'554'570);
  CHECK(parameter_count(spec_of("resnet101(fc=512)")) == 43'546'698);
}

TEST_CASE("settings of a network are read, and refused by name") {
  CHECK(spec_of("resnet18()") == spec_of("resnet18"));
  CHECK(spec_of("resnet18(classes=10,stem=cifar,size=32)") == spec_of("resnet18"));
  CHECK(spec_of("resnet18(classes=7,size=16)").input == Shape{3, 16, 16});
  CHECK(layer_shapes(spec_of("resnet18(classes=7,size=16)")).back() == Shape{7});
  CHECK(spec_of("1x4x4 norm(0.5;0.25) flatten fc2") == parse_spec("1x4x4 norm(0.5;0.25) flatten fc2"));
  const std::pair<const char*, const char*> cases[] = {
      {"resnet18(depth=3)", "resnet18: 'depth' is not one of its settings (stem, size, classes, fc, rate)"},
      {"resnet18(classes=0)", "resnet18: classes is 0, 1 to"},
      {"resnet18(classes=x)", "resnet18: classes is 'x', a number is expected"},
      {"resnet18(classes=1.5)", "resnet18: classes is 1.5, a whole number is expected"},
      {"resnet18(stem=wide)", "resnet18: stem is 'wide'; accepted: cifar, imagenet"},
      {"resnet18(size=8,size=9)", "resnet18: 'size' is given twice"},
      {"resnet18(fc=)", "resnet18: fc needs a value"},
      {"resnet18(fc=512 relu)", "white space is not accepted"},
      {"resnet18(fc=x)", "'fcx:fc.0': output units: a number is expected"},
      {"resnet18(classes=10", "needs its ')'"},
      {"vgg11(bn=yes)", "vgg11: bn takes no value"},
      {"lenet5(classes=3)", "lenet5: takes no settings"},
      {"inception-v3(size=74)", "inception-v3: size is 74, 75 to"},
      {"resnet19", "spec: token 1 'resnet19'"},
  };
  for (const auto& [text, phrase] : cases) {
    CAPTURE(text);
    CHECK_ERROR(spec_of(text), phrase);
  }
}
