#include "defenses/defensive_dropout.h"

#include "compression/layers.h"
#include "defenses/record.h"
#include "nn/model.h"

namespace hashgrad {

void defensive_dropout(Model& model, double rate, const std::string& layers) {
  check(rate > 0 && rate < 1, "dropout: rate = {}, a number in (0, 1) expected", rate);
  const std::vector<size_t> chosen = select_layers(model.spec(), layers, "dropout");
  for (const size_t i : chosen) {
    const LayerSpec& layer = model.spec().layers[i];
    check(layer.kind == LayerSpec::Kind::fc, "dropout: layer {} ({}) is not fully connected", i,
          to_string(layer));
    check(!layer.hashed(), "dropout: layer {} ({}) is hashed; materialise the model first", i,
          to_string(layer));
  }
  record_defence(
      model,
      {{"method", "dropout"}, {"rate", rate}, {"layers", layers}, {"at", chosen}, {"draws", "forward"}});
}

}  // namespace hashgrad
