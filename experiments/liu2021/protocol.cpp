#include "experiments/liu2021/protocol.h"

#include <fmt/ranges.h>

#include "core/error.h"

namespace hashgrad::liu2021 {
namespace {

using study::Scale;

/// B2, B8, with the defaults of CleverHans for eps (2.0), C&W (2.1) and EAD (3.1).
const Protocol mnist_full{.paper = &mnist_numbers,
                          .title = "MNIST",
                          .data = "mnist",
                          .network = "liu2021-mnist",
                          .substitute = "substitute-mnist",
                          .train_images = 60000,
                          .test_images = 10000,
                          .lr = 1e-3,
                          .epochs = 20,
                          .hash_epochs = 3,
                          .prune_epochs = 3,
                          .gi1 = 0.1,
                          .gi2 = 3,
                          .gi3 = 0.2,
                          .eps = 0.3,
                          .bim_step = 0.05,
                          .mim_step = 0.06,
                          .pgd_step = 0.03,
                          .eps_swept = {0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5},
                          .bit_depth = 1,
                          .accuracy = 10000,
                          .untargeted = 10000,
                          .bpda = 1000,
                          .deepfool = 1000,
                          .targeted = 100,
                          .gradients = 10000,
                          .eot = 1000,
                          .queries = 1000,
                          .queries_targeted = 100,
                          .seeds = 150,
                          .rounds = 6,
                          .search_stride = 1,
                          .search_images = 60000,
                          .search_epochs = 3,
                          .search_tested = 10000,
                          .search_estimated = 10000,
                          .pgd_images = 60000,
                          .pgd_epochs = 10,
                          .pgd_steps = 40,
                          .surface_points = 1000,
                          .surface_epochs = 100,
                          .cw = {"cw-l2", 10000},
                          .ead = {"ead", 18000},
                          .strong_cw = {"cw-l2:compat=nra", 180000},
                          .zoo = {"zoo", 771000}};

Protocol mnist_reduced() {
  Protocol p = mnist_full;
  p.epochs = 3;
  p.hash_epochs = 2;
  p.prune_epochs = 1;
  p.accuracy = 2000;
  p.untargeted = p.bpda = p.gradients = 500;
  p.deepfool = 100;
  p.targeted = 10;
  p.eot = 100;
  p.queries = 10;
  p.queries_targeted = 1;
  p.search_stride = 2;
  p.search_images = 20000;
  p.search_epochs = 1;
  p.search_tested = p.accuracy;
  p.search_estimated = 100;
  p.pgd_images = 20000;
  p.pgd_epochs = 2;
  p.pgd_steps = 10;
  p.cw = {"cw-l2:c-steps=1,c0=10,iters=100,lr=0.2", 200};
  p.ead = {"ead:c-steps=1,c0=10,iters=100", 200};
  p.strong_cw = {"cw-l2:c-steps=3,c0=10,iters=200,lr=0.1", 1200};
  p.zoo = {"zoo:iters=100,coordinates=32,lr=0.3,c0=10", 6500};
  return p;
}

/// Procedural digits and a small network: every path, no statement.
Protocol mnist_smoke() {
  Protocol p = mnist_reduced();
  p.data = "synthetic-digits";
  p.network = "1x28x28 conv8k5p2s2 relu conv16k3p1 relu maxpool2 flatten fc32 relu fc32 relu fc10";
  p.substitute = "1x28x28 flatten fc32 relu fc10";
  p.train_images = 4000;
  p.epochs = 5;
  p.hash_epochs = 5;
  p.test_images = 200;
  p.lr = 0.01;
  p.accuracy = 200;
  p.untargeted = p.bpda = p.gradients = 40;
  p.deepfool = 10;
  p.targeted = 2;
  p.eot = 10;
  p.queries = 4;
  p.seeds = 40;
  p.rounds = 3;
  p.search_images = 1000;
  p.search_tested = p.accuracy;
  p.search_estimated = 20;
  p.pgd_images = 500;
  p.pgd_epochs = 1;
  p.pgd_steps = 3;
  p.surface_points = 256;
  p.surface_epochs = 30;
  p.cw.attack = "cw-l2:c-steps=1,c0=10,iters=20,lr=0.2";
  p.ead.attack = "ead:c-steps=1,c0=10,iters=20";
  p.strong_cw.attack = "cw-l2:c-steps=2,c0=10,iters=20,lr=0.2";
  p.zoo.attack = "zoo:iters=20,coordinates=16,lr=0.5,c0=10";
  p.cw.passes = p.ead.passes = 40;
  p.strong_cw.passes = 80;
  p.zoo.passes = 660;
  return p;
}

Protocol mnist(Scale scale) {
  return scale == Scale::full ? mnist_full : scale == Scale::reduced ? mnist_reduced() : mnist_smoke();
}

/// Budgets for colour images: close to the usual 8/255, steps in the proportions of CleverHans.
void set_small_eps(Protocol& p) {
  p.eps = 0.03;
  p.bim_step = 0.005;
  p.mim_step = 0.006;
  p.pgd_step = 0.003;
  p.eps_swept = {0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3};
}

/// Fewer of everything, for nets that are there to be run through.
void set_smallest(Protocol& p) {
  p.train_images = 2000;
  p.epochs = 4;
  p.hash_epochs = 2;
  p.accuracy = 100;
  p.untargeted = p.bpda = p.gradients = 20;
  p.deepfool = 5;
  p.targeted = 1;
  p.eot = 5;
  p.seeds = 20;
  p.rounds = 2;
}

/// B5. Whole percents of C&W, EAD and BPDA say 100 images, so one target each.
Protocol residual(const Protocol& cifar, Scale scale, int depth, const PaperNumbers& paper) {
  Protocol p = cifar;
  p.paper = &paper;
  p.label = fmt::format("ResNet-{} ", depth);
  p.network = fmt::format("resnet{}", depth);
  p.hashed = fmt::format("resnet{}(fc=512@1/8192,rate=1/256)", depth);
  p.init = "pytorch";
  p.lr = 1e-3;
  p.gi3 = 0.2;
  p.targets = Targets::next;
  p.jsma = false;
  p.untargeted = p.gradients = 1000;
  p.bpda = p.targeted = p.eot = 100;
  if (scale == Scale::full) return p;
  p.untargeted = p.bpda = p.gradients = 100;
  p.targeted = p.eot = 20;
  p.accuracy = 500;
  const std::string small = fmt::format("resnet{}(stem=imagenet,size=32,classes=10", depth);
  p.network = small + ")";
  p.hashed = small + ",fc=512@1/8192,rate=1/256)";
  p.train_images = 20000;
  p.epochs = 5;
  if (scale == Scale::reduced) return p;
  const std::string body = fmt::format(
      "1x28x28 conv{0}k5p2s4nb:c bn:n relu =a conv{0}k3p1nb:d bn:m +a relu gap flatten", depth / 10);
  p.network = body + " fc10:fc";
  p.hashed = body + " fc32@1/8:fc.0 relu fc10@1/16:fc.2";
  p.lr = 0.01;
  set_smallest(p);
  return p;
}

/// B3, B6, B8.
Protocol cifar10(Scale scale) {
  Protocol p = mnist(scale);
  p.paper = &cifar10_numbers;
  p.title = "CIFAR-10";
  p.gi1 = 0.3;
  p.gi2 = 5;
  p.gi3 = 0.6;
  p.bit_depth = 4;
  p.augmentation = "crop:4,flip";
  set_small_eps(p);
  if (scale == Scale::smoke) {
    set_smallest(p);
  } else {
    p.data = "cifar10";
    p.network = scale == Scale::full ? "liu2021-cifar" : "wang2018-cifar";
    p.substitute = "substitute-cifar";
    p.train_images = p.search_images = p.pgd_images = 50000;
  }
  if (scale == Scale::full) {
    p.epochs = 100;
    p.init = "he-normal";  // 16 convolutions in a row without batch norm do not learn from smaller values
    p.lr = 2e-4;
  }
  if (scale == Scale::reduced) {
    p.epochs = 6;
    p.targeted = 6;
    p.queries = 4;
  }
  p.residual = {residual(p, scale, 34, resnet34_numbers), residual(p, scale, 50, resnet50_numbers),
                residual(p, scale, 101, resnet101_numbers)};
  return p;
}

/// B4, B8. The images of the stand-in have 64x64 pixels and are scaled up; nothing is pretrained.
Protocol imagenet50(Scale scale) {
  Protocol p = mnist(scale);
  p.paper = &imagenet50_numbers;
  p.title = "ImageNet-50 (stand-in: 50 classes of Tiny ImageNet)";
  p.gi1 = 0.4;
  p.gi2 = 6;
  p.gi3 = 0.8;
  p.targets = Targets::next;
  p.jsma = false;
  set_small_eps(p);
  if (scale == Scale::smoke) {
    const std::string body =
        "1x28x28 conv4k5p2s4nb:c bn:n relu =x conv4k1nb:d =a <x conv4k3p1nb:e =b cat(a,b) bn:m relu gap "
        "flatten";
    p.network = body + " fc10:fc";
    p.hashed = body + " fc32@1/8:fc.0 relu fc10@1/16:fc.2";
    set_smallest(p);
    return p;
  }
  p.data = "imagenet50";
  p.train_images = 25000;
  p.test_images = 2500;
  if (scale == Scale::full) {
    p.size = 299;
    p.augmentation = "crop:32,flip";
    p.epochs = 100;
    p.accuracy = p.untargeted = p.gradients = 2500;
    p.bpda = p.deepfool = p.targeted = p.eot = 100;
  } else {
    p.size = 75;
    p.augmentation = "crop:8,flip";
    p.epochs = 5;
    p.accuracy = 1000;
    p.untargeted = p.bpda = p.gradients = 100;
    p.deepfool = p.targeted = p.eot = 20;
  }
  p.network = fmt::format("inception-v3(classes=50,size={})", p.size);
  p.hashed = fmt::format("inception-v3(classes=50,size={},fc=512@1/8192,rate=1/256)", p.size);
  return p;
}

/// How the networks of one architecture came about.
std::string training_of(const Protocol& p) {
  std::string text =
      fmt::format("{}: initial values {}, Adam, rate {}, cosine, batch {}, {} epochs on {} images", p.network,
                  p.init, p.lr, train_batch, p.epochs, p.train_images);
  if (p.augmentation != "none") text += ", " + p.augmentation;
  text += p.hashed.empty() ? "; its last two layers hashed" : "; hashed as " + p.hashed;
  return text + fmt::format(", {} more", p.hash_epochs);
}

std::string images_of(const Protocol& p) {
  const std::string text = fmt::format(
      "{} for accuracy, {} for FGSM, BIM, MIM, {} for BPDA, {} for DeepFool, {} x {} for {}C&W, EAD, {} for "
      "attacks over draws",
      p.accuracy, p.untargeted, p.bpda, p.deepfool, p.targeted,
      p.targets == Targets::all ? "every other class" : "the next class", p.jsma ? "JSMA, " : "", p.eot);
  return p.paper->black_box.empty() ? text : text + fmt::format(", {} for ZOO", p.queries);
}

}  // namespace

const std::vector<std::string>& data_names() {
  static const std::vector<std::string> names{"mnist", "cifar10", "imagenet50"};
  return names;
}

Protocol protocol_of(const std::string& data, Scale scale) {
  if (data == "mnist") return mnist(scale);
  if (data == "cifar10") return cifar10(scale);
  if (data == "imagenet50") return imagenet50(scale);
  fail("liu2021: no data set is named '{}' (accepted: {})", data, fmt::join(data_names(), ", "));
}

void set_gi_convolution(Protocol& protocol, bool convolution) {
  protocol.gi_convolution = convolution;
  for (Protocol& other : protocol.residual) set_gi_convolution(other, convolution);
}

std::vector<std::pair<std::string, std::string>> described(const Protocol& p) {
  const std::string scaled = p.size > 0 ? fmt::format(", scaled to {0}x{0}", p.size) : "";
  std::vector<std::pair<std::string, std::string>> lines{
      {"data", fmt::format("{}: first {} to train, first {} of the test split{}", p.data, p.train_images,
                           p.test_images, scaled)},
      {"training", training_of(p)},
      {"images", images_of(p)},
      {"inhibition", fmt::format("GI1 {:g}, GI2 {:g}, GI3 {:g}", p.gi1, p.gi2, p.gi3)},
      {"linf", fmt::format("eps {}; BIM 10 steps of {}, MIM 10 of {} (the paper gives none)", p.eps,
                           p.bim_step, p.mim_step)},
      {"attacks",
       fmt::format("{}; {}; adaptive {}; {}", p.cw.attack, p.ead.attack, p.strong_cw.attack, p.zoo.attack)},
      {"randomised",
       fmt::format("GI3 draws at every answer; a majority of {} draws judges; EOT over {} draws", judge_draws,
                   eot_draws)}};
  for (const Protocol& r : p.residual)
    lines.push_back({r.label, fmt::format("{}; GI3 {:g}; images: {}", training_of(r), r.gi3, images_of(r))});
  return lines;
}

}  // namespace hashgrad::liu2021
