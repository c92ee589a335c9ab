#include "experiments/liu2018/setup.h"

#include <fmt/ranges.h>

#include "nn/models/zoo.h"

namespace hashgrad::liu2018 {
namespace {

/// The network and its four HashNets. A bucket's gradient is the sum over all weights that share it, so
/// bucket values learn more slowly the more share them; at the full rate 1/64 diverges.
std::vector<Subject> hashed_family(const std::string& network) {
  return {{"uncompressed", network},
          {"HashNet(1/8)", network, 1.0 / 8, 0.5},
          {"HashNet(1/16)", network, 1.0 / 16, 0.3},
          {"HashNet(1/32)", network, 1.0 / 32, 0.3},
          {"HashNet(1/64)", network, 1.0 / 64, 0.3}};
}

Setup full_mnist() {
  return {.data = "mnist",
          .subjects = hashed_family("liu2018-mnist"),
          .training = {60000, 6, 128, 0.1, "sgd:momentum=0.9,nesterov,weight_decay=5e-4", "onecycle:0.2"},
          .eps = {0.1, 0.2, 0.3, 0.4, 0.5},
          .elements = {1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100},
          .taus = {0, 0.01, 0.02, 0.05, 0.1},
          .layers = {"last:1", "last:2"},
          .tested = 10000,
          .attacked = 10000,
          .inhibited = 10000};
}

/// The networks have no batch norm: the one cycle's slow start and He's initial values are what makes the
/// deep ones learn.
Setup full_cifar() {
  return {.data = "cifar10",
          .subjects = {{"DNN1", "liu2018-dnn1"},
                       {"DNN2", "liu2018-dnn2"},
                       {"DNN3", "liu2018-dnn3"},
                       {"VGG-16", "liu2018-vgg16"}},
          .training = {50000, 60, 128, 0.05, "sgd:momentum=0.9,nesterov,weight_decay=5e-4", "onecycle:0.3",
                       "crop:4,flip", Init::he_normal},
          .eps = {8.0 / 255},
          .taus = {0, 0.1, 0.2, 0.3, 0.4, 0.5},
          .layers = {"last:1", "last:2"},
          .tested = 10000,
          .inhibited = 10000};
}

/// Procedural digits and small networks: every path, no statement.
void shrink(Setup& setup) {
  setup.data = "synthetic-digits";
  setup.training = {1000, 4, 32, 0.05, "sgd", "onecycle:0.3"};
  setup.tested = 100;
  setup.inhibited = 40;
}

std::string networks_text(const std::vector<Subject>& subjects) {
  std::string text;
  for (const Subject& s : subjects) {
    text += fmt::format("{}{}: ", text.empty() ? "" : "; ", s.name);
    text += s.rate == 0 ? s.network
                        : fmt::format("the same hashed, bucket values at {:g} of the rate", s.hashed_lr);
  }
  return text;
}

}  // namespace

Spec Subject::spec() const {
  Spec spec = spec_of(network);
  for (LayerSpec& layer : spec.layers)
    if (layer.has_weight()) layer.rate = rate;
  return spec;
}

std::vector<Inhibition> Setup::inhibitions() const {
  std::vector<Inhibition> result{{}};
  for (const std::string& where : layers)
    for (const double tau : taus)
      if (tau > 0) result.push_back({tau, where});
  return result;
}

Setup mnist_setup(study::Scale scale) {
  Setup setup = full_mnist();
  if (scale == study::Scale::reduced) {
    setup.training.epochs = 3;
    setup.attacked = setup.inhibited = 1000;
  } else if (scale == study::Scale::smoke) {
    shrink(setup);
    setup.attacked = setup.inhibited;
    setup.subjects =
        hashed_family("1x28x28 conv4k5p2 relu maxpool2 conv8k5p2 relu maxpool2 flatten fc32 relu fc10");
    setup.elements = {10, 100};
    setup.taus = {0, 0.01, 0.1};
  }
  return setup;
}

Setup cifar_setup(study::Scale scale) {
  Setup setup = full_cifar();
  if (scale == study::Scale::reduced) {
    setup.training = {10000,
                      8,
                      64,
                      0.02,
                      "sgd:momentum=0.9,nesterov,weight_decay=5e-4",
                      "onecycle:0.3",
                      "crop:4,flip",
                      Init::he_normal};
    setup.tested = 2000;
    setup.inhibited = 500;
  } else if (scale == study::Scale::smoke) {
    shrink(setup);
    const std::string begin = "1x28x28 conv4k3p1 relu maxpool2 ", end = "maxpool2 flatten fc16 relu ";
    setup.subjects = {{"DNN1", begin + "conv8k3p1 relu " + end + "fc10"},
                      {"DNN2", begin + "conv8k3p1 relu conv8k3p1 relu " + end + "fc10"},
                      {"DNN3", begin + "conv8k3p1 relu conv8k3p1 relu conv8k3p1 relu " + end + "fc10"},
                      {"VGG-16", begin + "conv8k3p1 relu " + end + "dropout0.5 fc16 relu fc10"}};
    setup.taus = {0, 0.1, 0.5};
  }
  return setup;
}

std::vector<std::pair<std::string, std::string>> described(const Setup& setup, const std::string& of) {
  const Training& t = setup.training;
  const std::string before = of.empty() ? "" : of + " ",
                    attacked =
                        setup.attacked == 0 ? "" : fmt::format("{} for HFGSM and HJSMA, ", setup.attacked);
  return {{before + "data", fmt::format("{}: first {} to train; of the test split the first {} for accuracy, "
                                        "{}{} for gradients and inhibition",
                                        setup.data, t.images, setup.tested, attacked, setup.inhibited)},
          {before + "networks", networks_text(setup.subjects)},
          {before + "training",
           fmt::format("{} epochs, batch {}, {}, rate {:g}, {}, augmentation {}, initial values {}", t.epochs,
                       t.batch, t.optimizer, t.lr, t.schedule, t.augmentation, to_string(t.init))},
          {before + "attacks", fmt::format("eps {:.3g}; tau {:g}, layers {}", fmt::join(setup.eps, " "),
                                           fmt::join(setup.taus, " "), fmt::join(setup.layers, ", "))}};
}

}  // namespace hashgrad::liu2018
