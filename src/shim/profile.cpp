// Libtorch's profiler: what ran, and for how long, on the CPU and on a GPU.
#include "guard.h"
#include <c10/core/CachingDeviceAllocator.h>
#include <cstdlib>
#include <set>
#include <torch/csrc/autograd/profiler_kineto.h>

namespace profiler = torch::autograd::profiler;
namespace impl = torch::profiler::impl;

extern "C" {

// From now on every operation of this thread and its backward passes is noted; kernels too, if `gpu`.
char* paella_profile_start(bool gpu) {
  GUARD({
    setenv("KINETO_LOG_LEVEL", "99", 0);  // it complains of a CPU that it has no GPU
    impl::ProfilerConfig config(impl::ProfilerState::KINETO);
    std::set<impl::ActivityType> activities{impl::ActivityType::CPU};
    if (gpu) activities.insert(impl::ActivityType::CUDA);
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities);
  })
}

// Stop, and write what was noted as a Chrome trace.
char* paella_profile_stop(const char* path) {
  GUARD({
    auto result = profiler::disableProfiler();
    result->save(path);
  })
}

// Memory that libtorch keeps for later tensors goes back to the GPU.
char* paella_release_memory() { GUARD(c10::getDeviceAllocator(c10::DeviceType::CUDA)->emptyCache()) }
}
