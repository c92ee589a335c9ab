// What Liu and Wen print in their tables, by data set and network. In percent unless stated otherwise.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace hashgrad::liu2021 {

/// Of one network: its row of B-T1 and of B-T2; of a residual network, its columns of B-T5 and B-T6.
struct PaperRow {
  std::string network;
  double accuracy;
  std::optional<double> deepfool;  ///< relative distance
  std::vector<double> success;     ///< of the attacks of published(), in their order
  std::string misprint{};          ///< of the average, where the table has another one than its row

  double average() const;
};

/// Success of several attacks on one network.
struct PaperSuccess {
  std::string network;
  std::vector<double> success;
};

/// Of one data set, or of one residual network. A table without numbers was not made there.
struct PaperNumbers {
  std::vector<PaperRow> white_box;
  std::vector<PaperSuccess> black_box{};   ///< B-T3: sub-FGSM, ZOO, sub-CW, ZOO targeted
  std::vector<PaperSuccess> transforms{};  ///< B-T4: FGSM, JSMA-Z, C&W, BPDA
  std::vector<PaperSuccess> compressed{};  ///< B-T7: FGSM, JSMA-Z, C&W

  /// The row of B-T1 and B-T2 of that network, which must be there.
  const PaperRow& row(const std::string& network) const;
};

extern const PaperNumbers mnist_numbers, cifar10_numbers, imagenet50_numbers;
extern const PaperNumbers resnet34_numbers, resnet50_numbers, resnet101_numbers;

}  // namespace hashgrad::liu2021
