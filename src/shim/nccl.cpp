// Groups of GPUs. With graph.cpp the only part that needs the headers of CUDA and NCCL: a library of its own, loaded on demand.
#define USE_C10D_NCCL 1
#define USE_DISTRIBUTED 1
#include "guard.h"
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

extern "C" char* paella_make_nccl(const c10::intrusive_ptr<c10d::Store>* store, int rank, int size, int64_t ms,
                                  c10d::Backend** out) {
  GUARD({
    auto options = c10d::ProcessGroupNCCL::Options::create(false);
    options->timeout = std::chrono::milliseconds(ms);
    options->group_name = "0";
    c10::intrusive_ptr<c10d::Backend> backend =
        c10::make_intrusive<c10d::ProcessGroupNCCL>(*store, rank, size, options);
    *out = backend.release();
  })
}
