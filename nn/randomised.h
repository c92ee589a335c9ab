// Networks whose defence draws random numbers at every answer. Such a network is a family of ordinary ones,
// one for each draw: what it does is what they do.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "core/random.h"
#include "nn/model.h"

namespace hashgrad {

/// Whether the model answers by draw: the list under its metadata key `defences` has an entry with
/// "draws":"forward". It has no answer of its own: logits() and forward() are Errors. Loading, saving,
/// clone() and to() keep the defence. Error: `defences` is not a JSON list.
bool randomised(const Model& model);

/// Whether the weights of layer i are among what is drawn.
bool draws_at(const Model& model, size_t i);

/// Which member of the family. Other streams and other seeds give other draws.
struct Draw {
  uint64_t seed = 0;
  Stream stream = Stream::defence;
  int64_t number = 0;  // 0 to 2^48 - 1
};

/// One member: an ordinary model that shares every tensor which the draw does not change, on the same device.
/// In the order in which the defences were added, on each layer that they name:
///   gi3      w + eps * U * sign(w), U in [0,1) drawn for each stored value, so on a hashed layer for each
///            bucket: all virtual weights of a bucket move together
///   dropout  input j of a fully connected layer is dropped with probability rate: column j of its weights is
///            0, and the others are divided by 1 - rate. All rows of a batch meet the same mask; each row's
///            answer has the distribution that it has under a mask of its own
///   others   what a program has added (nn/draw_methods.h)
/// Numbers are keyed by (draw, method, layer), not by the element type: float32 and float64 meet the same draw. The
/// metadata say which draw it is. Errors: as check_draws(). A model that is not randomised gives itself.
Model realisation(const Model& model, const Draw& draw);

/// Throws, opening with `name`, unless what `defences` says of draws can be carried out on this model: known
/// methods, strengths in range, layers that are there and that the method can draw.
void check_draws(const Model& model, const std::string& name);

/// Draws 0, 1, 2, ... of one model under one seed, each made when it is first asked for and then kept: memory
/// for the tensors that a draw changes. The model's weights must not change meanwhile. One thread at a time.
class Realisations {
 public:
  Realisations(const Model& model, uint64_t seed) : model_(model.alias()), seed_(seed) {}

  /// Whether these are draws of this model, which is told by its tensors, under this seed.
  bool of(const Model& model, uint64_t seed) const;
  /// Draws 0 to count - 1 of a stream. They live as long as this does.
  std::vector<const Model*> first(int64_t count, Stream stream);

 private:
  Model model_;
  uint64_t seed_;
  std::map<Stream, std::deque<Model>> made_;
};

}  // namespace hashgrad
