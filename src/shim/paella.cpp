// Thin calls into libtorch that tch 0.24 lacks, for optimisers and start-up.
#include "guard.h"
#include <dlfcn.h>
#include <mutex>
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/version.h>
#include <vector>

extern "C" {

// One AdamW update of n parameters. Those without a gradient are skipped, and their state does not change.
char* paella_fused_adamw(at::Tensor** params, at::Tensor** exp_avgs, at::Tensor** exp_avg_sqs, at::Tensor** steps,
                         int64_t n, double lr, double beta1, double beta2, double weight_decay, double eps) {
  GUARD({
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> p, g, m, v, s;
    for (int64_t i = 0; i < n; i++) {
      if (!params[i]->grad().defined()) continue;
      p.push_back(*params[i]);
      g.push_back(params[i]->grad());
      m.push_back(*exp_avgs[i]);
      v.push_back(*exp_avg_sqs[i]);
      s.push_back(*steps[i]);
    }
    if (p.empty()) return nullptr;
    at::_foreach_add_(s, 1);
    at::_fused_adamw_(p, g, m, v, {}, s, lr, beta1, beta2, weight_decay, eps, false, false);
  })
}

// Total 2-norm of all gradients. Scales them to at most max_norm if max_norm > 0.
char* paella_clip_grad_norm(at::Tensor** params, int64_t n, double max_norm, at::Tensor** norm) {
  GUARD({
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> g;
    for (int64_t i = 0; i < n; i++)
      if (params[i]->grad().defined()) g.push_back(params[i]->grad());
    auto total = g.empty() ? at::zeros({}) : at::stack(at::_foreach_norm(g, 2)).norm(2);
    if (max_norm > 0 && !g.empty()) at::_foreach_mul_(g, (max_norm / (total + 1e-6)).clamp_max(1.0));
    *norm = new at::Tensor(total);
  })
}

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

// averages += (values - averages) * weight, for all tensors at once.
char* paella_lerp(at::Tensor** averages, at::Tensor** values, int64_t n, double weight) {
  GUARD({
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> a, b;
    for (int64_t i = 0; i < n; i++) {
      a.push_back(*averages[i]);
      b.push_back(*values[i]);
    }
    at::_foreach_lerp_(a, b, weight);
  })
}

// A copy in pinned memory.
char* paella_pin_memory(at::Tensor* in, at::Tensor** out) { GUARD(*out = new at::Tensor(in->pin_memory())) }

// The linker drops libtorch_cuda from the binary. The library registers itself when it is loaded.
bool paella_load_cuda() { return dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr; }

// The version that this file was compiled against.
const char* paella_torch_version() { return TORCH_VERSION; }
}
