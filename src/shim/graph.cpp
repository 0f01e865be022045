// Recording and replaying kernels as a CUDA graph. In the library that needs CUDA's headers, beside NCCL's half.
#include <memory>
#include "guard.h"
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <optional>

namespace {
struct Graph {
  at::cuda::CUDAGraph graph;
  // nothing is recorded on the default stream
  c10::cuda::CUDAStream side = c10::cuda::getStreamFromPool(false);
  std::optional<c10::cuda::CUDAStreamGuard> current;
};
}  // namespace

extern "C" {

// What this thread launches from now on goes to a stream of the graph's own.
char* paella_cuda_graph_enter(void** out) {
  GUARD({
    auto made = std::make_unique<Graph>();
    at::cuda::getCurrentCUDAStream().synchronize();
    made->current.emplace(made->side);
    *out = made.release();
  })
}

char* paella_cuda_graph_begin(void* graph) {
  GUARD({
    auto* it = static_cast<Graph*>(graph);
    it->side.synchronize();
    // other threads may go on allocating: only this one must not wait for the device
    it->graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  })
}

char* paella_cuda_graph_end(void* graph) { GUARD(static_cast<Graph*>(graph)->graph.capture_end()) }

// Back to the stream of before.
char* paella_cuda_graph_leave(void* graph) {
  GUARD({
    auto* it = static_cast<Graph*>(graph);
    it->side.synchronize();
    it->current.reset();
  })
}

char* paella_cuda_graph_replay(void* graph) { GUARD(static_cast<Graph*>(graph)->graph.replay()) }

void paella_cuda_graph_free(void* graph) { delete static_cast<Graph*>(graph); }
}
