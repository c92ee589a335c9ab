#include "experiments/liu2021/protocol.h"

namespace hashgrad::liu2021 {
namespace {

/// B8, with the defaults of CleverHans for C&W (2.1) and EAD (3.1).
const Protocol full{.data = "mnist",
                    .network = "liu2021-mnist",
                    .substitute = "substitute-mnist",
                    .train_images = 60000,
                    .test_images = 10000,
                    .lr = 1e-3,
                    .epochs = 20,
                    .hash_epochs = 3,
                    .prune_epochs = 3,
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
                    .cw = {"cw-l2", 10000},
                    .ead = {"ead", 18000},
                    .strong_cw = {"cw-l2:compat=nra", 180000},
                    .zoo = {"zoo", 771000}};

Protocol reduced() {
  Protocol p = full;
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
Protocol smoke() {
  Protocol p = reduced();
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
  p.cw.attack = "cw-l2:c-steps=1,c0=10,iters=20,lr=0.2";
  p.ead.attack = "ead:c-steps=1,c0=10,iters=20";
  p.strong_cw.attack = "cw-l2:c-steps=2,c0=10,iters=20,lr=0.2";
  p.zoo.attack = "zoo:iters=20,coordinates=16,lr=0.5,c0=10";
  p.cw.passes = p.ead.passes = 40;
  p.strong_cw.passes = 80;
  p.zoo.passes = 660;
  return p;
}

}  // namespace

Protocol protocol_of(study::Scale scale) {
  return scale == study::Scale::full ? full : scale == study::Scale::reduced ? reduced() : smoke();
}

std::vector<std::pair<std::string, std::string>> described(const Protocol& p) {
  return {
      {"data", fmt::format("{}: first {} to train, first {} of the test split", p.data, p.train_images,
                           p.test_images)},
      {"network", p.network},
      {"training",
       fmt::format("Adam, rate {}, cosine, batch {}: {} epochs; behind hash layers {} more, pruned {}", p.lr,
                   train_batch, p.epochs, p.hash_epochs, p.prune_epochs)},
      {"images", fmt::format("{} for accuracy, {} for FGSM, BIM, MIM, {} for BPDA, {} for DeepFool, {} x 9 "
                             "targets for JSMA, C&W, EAD, {} for attacks over draws, {} for ZOO",
                             p.accuracy, p.untargeted, p.bpda, p.deepfool, p.targeted, p.eot, p.queries)},
      {"linf",
       fmt::format("eps {}; BIM 10 steps of 0.05, MIM 10 of 0.06 (CleverHans; the paper gives none)", eps)},
      {"attacks",
       fmt::format("{}; {}; adaptive {}; {}", p.cw.attack, p.ead.attack, p.strong_cw.attack, p.zoo.attack)},
      {"randomised",
       fmt::format("GI3 draws at every answer; a majority of {} draws judges; EOT over {} draws", judge_draws,
                   eot_draws)}};
}

}  // namespace hashgrad::liu2021
