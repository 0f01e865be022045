// Thin calls into libtorch that tch 0.24 lacks, for gradients, generators and start-up.
#include "guard.h"
#include <dlfcn.h>
#include <mutex>
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/version.h>
#include <vector>

extern "C" {

// Removes the gradients, so that the next update can see which parameters have none.
char* paella_reset_grads(at::Tensor** params, int64_t n) {
  GUARD(for (int64_t i = 0; i < n; i++) params[i]->mutable_grad().reset())
}

// The generator state of a tensor's device.
char* paella_generator_state(at::Tensor* on_device, at::Tensor** state) {
  GUARD({
    auto generator = at::globalContext().defaultGenerator(on_device->device());
    std::lock_guard<std::mutex> lock(generator.mutex());
    *state = new at::Tensor(generator.get_state());
  })
}

// Restores a generator state.
char* paella_set_generator_state(at::Tensor* on_device, at::Tensor* state) {
  GUARD({
    auto generator = at::globalContext().defaultGenerator(on_device->device());
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(*state);
  })
}

// A copy in pinned memory.
char* paella_pin_memory(at::Tensor* in, at::Tensor** out) { GUARD(*out = new at::Tensor(in->pin_memory())) }

// The linker drops libtorch_cuda from the binary. The library registers itself when it is loaded.
bool paella_load_cuda() { return dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr; }

// The version that this file was compiled against.
const char* paella_torch_version() { return TORCH_VERSION; }
}
