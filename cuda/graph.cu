// Graphs: work recorded once, then started as a whole (cuda/runtime.h).
#include "cuda/gpu.h"
#include "cuda/memory.h"
#include "cuda/runtime.h"
#include "cuda/status.h"

namespace hashgrad::HASHGRAD_GPU {

struct Graph::State {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  GraphMemory* memory = nullptr;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    static_cast<void>(wait_for_device());  // a replay may be running in the blocks that are given back now
    if (executable) static_cast<void>(cudaGraphExecDestroy(executable));
    if (graph) static_cast<void>(cudaGraphDestroy(graph));
    if (memory) end_graph(memory);
  }
};

namespace {

/// The calling thread records from construction to finish(), or to destruction when its work failed.
class Capture {
 public:
  explicit Capture(GraphMemory*& memory) : scope_(stream_) {
    memory = begin_capture();
    const cudaError_t status = cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed);
    if (status != cudaSuccess) end_capture();
    must(status, "Graph::capture");
  }
  ~Capture() {
    if (finished_) return;
    cudaGraph_t dropped = nullptr;
    static_cast<void>(cudaStreamEndCapture(stream(), &dropped));
    if (dropped) static_cast<void>(cudaGraphDestroy(dropped));
    static_cast<void>(cudaGetLastError());
    end_capture();
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  cudaGraph_t finish() {
    finished_ = true;
    cudaGraph_t graph = nullptr;
    const cudaError_t status = cudaStreamEndCapture(stream(), &graph);
    end_capture();
    must(status, "Graph::capture");
    return graph;
  }

 private:
  Stream stream_;  // one that can capture: the default stream cannot
  StreamScope scope_;
  bool finished_ = false;
};

}  // namespace

Graph::Graph() = default;
Graph::~Graph() = default;

void Graph::capture(const std::function<void()>& work) {
  check(!capturing(), "{}: a graph cannot be captured inside another", engine_name);
  state_ = std::make_unique<State>();
  try {
    Capture capture(state_->memory);
    work();
    state_->graph = capture.finish();
    must(cudaGraphInstantiate(&state_->executable, state_->graph, 0), "Graph::capture");
  } catch (...) {
    state_.reset();
    throw;
  }
}

void Graph::replay() {
  check(state_ != nullptr, "{}: a graph is replayed that was never captured", engine_name);
  must(cudaGraphLaunch(state_->executable, stream()), "Graph::replay");
}

}  // namespace hashgrad::HASHGRAD_GPU
