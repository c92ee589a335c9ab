// Defensive distillation (Papernot et al., S&P 2016), by the recipe of Carlini and Wagner's evaluation (S&P
// 2017).
#pragma once

#include "nn/train.h"

namespace hashgrad {

/// softmax(teacher(images) / temperature), [N,K], on the images' device.
Tensor soft_labels(const Model& teacher, const Tensor& images, double temperature);

/// Makes `options` those of a student: trained at `temperature` on the teacher's soft labels, which replace
/// the labels (and their smoothing). The teacher must be one that was itself trained at that temperature, and
/// must outlive the training. An Error unless the temperature is a number in [1, 1e6].
void distil_from(const Model& teacher, double temperature, TrainOptions& options);

/// Writes {"method":"distill","temperature":..} into the student's `defences`. The student is used at
/// temperature 1: its logits are then about `temperature` times as large as those of a plain network, softmax
/// saturates, and the float32 gradient of the cross-entropy becomes exactly zero, as with gradient
/// inhibition.
void record_distillation(Model& student, double temperature);

}  // namespace hashgrad
