// Autocast per device, TF32 and peak memory, for which tch 0.24 has no calls.
#include "guard.h"
#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <ATen/Context.h>
#include <ATen/core/Tensor.h>

extern "C" {

// Switches autocast of a tensor's device on or off. Returns the previous setting. Switching off clears the cache of
// cast weights.
char* paella_autocast(at::Tensor* on_device, bool on, bool* was) {
  GUARD({
    auto device = on_device->device().type();
    bool before = at::autocast::is_autocast_enabled(device);
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, on || *was);
    *was = before;
    if (on) {
      at::autocast::increment_nesting();
    } else if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
  })
}

// Layer norm over the last dimension in the type of its input, whatever autocast says.
char* paella_layer_norm(at::Tensor* xs, double eps, at::Tensor** out) {
  GUARD({
    c10::impl::ExcludeDispatchKeyGuard as_it_is(c10::autocast_dispatch_keyset);
    *out = new at::Tensor(at::layer_norm(*xs, {xs->size(-1)}, {}, {}, eps));
  })
}

// Lets f32 matrix products and convolutions of a GPU round their inputs to TF32.
char* paella_tf32(bool on) {
  GUARD({
    at::globalContext().setAllowTF32CuBLAS(on);
    at::globalContext().setAllowTF32CuDNN(on);
  })
}

// Peak bytes of tensors on a GPU since the last call.
char* paella_peak_memory(int device, int64_t* bytes) {
  GUARD({
    auto* allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    *bytes = allocator->getDeviceStats(device).allocated_bytes[0].peak;
    allocator->resetPeakStats(device);
  })
}
}
