#include "core/pipeline.h"

namespace hashgrad::cpu {
namespace {

class AtOnce final : public Pipeline {
 public:
  void upload(const std::function<void()>& copies) override { copies(); }
  std::function<void()> record(const std::function<void()>& work) override { return work; }
};

}  // namespace

void make_pipeline(std::unique_ptr<Pipeline>& made) { made = std::make_unique<AtOnce>(); }

}  // namespace hashgrad::cpu
