// Autocast per device, TF32 and peak memory: switches that tch 0.24 has no calls for.
#include "guard.h"
#include <ATen/autocast_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <ATen/Context.h>
#include <ATen/core/Tensor.h>

extern "C" {

// Switch autocast of a tensor's device on or off; answers what it was. The cache of cast weights ends with it.
char* paella_autocast(at::Tensor* on_device, bool on, bool* was) {
  GUARD({
    auto device = on_device->device().type();
    *was = at::autocast::is_autocast_enabled(device);
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, on);
    if (on) {
      at::autocast::increment_nesting();
    } else if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
  })
}

// Let f32 matrix products and convolutions of a GPU round their inputs to TF32.
char* paella_tf32(bool on) {
  GUARD({
    at::globalContext().setAllowTF32CuBLAS(on);
    at::globalContext().setAllowTF32CuDNN(on);
  })
}

// Most bytes that tensors took at once on a GPU since the last call.
char* paella_peak_memory(int device, int64_t* bytes) {
  GUARD({
    auto* allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    *bytes = allocator->getDeviceStats(device).allocated_bytes[0].peak;
    allocator->resetPeakStats(device);
  })
}
}
