#include "cuda/gpu.h"
#include "cuda/pipeline.h"
#include "cuda/runtime.h"
#include "cuda/status.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

// A copy from memory that the driver has not pinned waits for its stream, not for the device: on a stream of
// its own it waits for no kernel. Blocks allocated during an upload belong to that stream; when they are
// released on the stream that read them, the allocator lets the next upload wait for those reads.
class EnginePipeline final : public Pipeline {
 public:
  void upload(const std::function<void()>& copies) override {
    {
      const StreamScope scope(uploads_);
      copies();
      uploaded_.record();
    }
    must(cudaStreamWaitEvent(stream(), static_cast<cudaEvent_t>(uploaded_.handle()), 0), "Pipeline::upload");
  }

  std::function<void()> record(const std::function<void()>& work) override {
    const auto graph = std::make_shared<Graph>();
    graph->capture(work);
    return [graph] { graph->replay(); };
  }

 private:
  HASHGRAD_GPU::Stream uploads_;
  Event uploaded_;
};

}  // namespace

void make_pipeline(std::unique_ptr<Pipeline>& made) { made = std::make_unique<EnginePipeline>(); }

}  // namespace hashgrad::HASHGRAD_GPU
