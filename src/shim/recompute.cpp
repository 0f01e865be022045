// Activation checkpointing: activations of a part of a network are recomputed in the backward pass instead of kept.
//
// As torch.utils.checkpoint, but the parameters are inputs of the function. Gradients reach them through the outer
// graph, once, so that DDP's reducer finds and counts them like any others.
#include "guard.h"
#include <ATen/autocast_mode.h>
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>
#include <vector>

namespace {

// Runs the part. Returns null if it panicked.
using Run = at::Tensor* (*)(void* closure, at::Tensor** inputs, int64_t n);
using Drop = void (*)(void* closure);

struct Part : torch::CustomClassHolder {
  Part(Run run, Drop drop, void* closure) : run_(run), drop_(drop), closure_(closure) {}
  ~Part() override { drop_(closure_); }

  at::Tensor operator()(std::vector<at::Tensor>& inputs) const {
    std::vector<at::Tensor*> pointers;
    for (auto& input : inputs) pointers.push_back(&input);
    std::unique_ptr<at::Tensor> output(run_(closure_, pointers.data(), pointers.size()));
    TORCH_CHECK(output, "a part of the network failed");
    return *output;
  }

 private:
  Run run_;
  Drop drop_;
  void* closure_;
};

// The generators that dropout may draw from.
std::vector<at::Generator> generators(const at::Device& device) {
  std::vector<at::Generator> all = {at::globalContext().defaultGenerator(at::kCPU)};
  if (!device.is_cpu()) all.push_back(at::globalContext().defaultGenerator(device));
  return all;
}

std::vector<at::Tensor> states(const std::vector<at::Generator>& all) {
  std::vector<at::Tensor> result;
  for (const auto& generator : all) result.push_back(generator.get_state());
  return result;
}

void put(std::vector<at::Generator>& all, const std::vector<at::Tensor>& values) {
  for (size_t i = 0; i < all.size(); i++) all[i].set_state(values[i]);
}

// Restores generators and autocast as in the forward pass, until the end of the scope.
class AsBefore {
 public:
  AsBefore(const at::Device& device, const std::vector<at::Tensor>& then, bool autocast)
      : device_(device.type()), all_(generators(device)), now_(states(all_)),
        autocast_(at::autocast::is_autocast_enabled(device_)) {
    put(all_, then);
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::set_autocast_enabled(device_, autocast);
    at::autocast::increment_nesting();
  }
  ~AsBefore() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, autocast_);
    put(all_, now_);
  }

 private:
  at::DeviceType device_;
  std::vector<at::Generator> all_;
  std::vector<at::Tensor> now_;
  bool autocast_;
};

struct Recompute : torch::autograd::Function<Recompute> {
  // tensors: n inputs, then the parameters.
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, at::TensorList tensors, int64_t n,
                            c10::intrusive_ptr<Part> part) {
    auto device = tensors[0].device();
    ctx->saved_data["part"] = c10::IValue::make_capsule(part);
    ctx->saved_data["n"] = n;
    ctx->saved_data["autocast"] = at::autocast::is_autocast_enabled(device.type());
    ctx->saved_data["states"] = states(generators(device));
    ctx->save_for_backward(tensors.vec());
    std::vector<at::Tensor> inputs(tensors.begin(), tensors.begin() + n);
    return (*part)(inputs);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    auto part = c10::static_intrusive_pointer_cast<Part>(ctx->saved_data["part"].toCapsule());
    auto n = ctx->saved_data["n"].toInt();
    auto tensors = ctx->get_saved_variables();
    std::vector<at::Tensor> inputs, wanted;
    std::vector<size_t> places;
    for (size_t i = 0; i < tensors.size(); i++) {
      auto tensor = tensors[i];
      if ((int64_t)i < n) {
        tensor = tensor.detach().set_requires_grad(tensor.requires_grad());
        inputs.push_back(tensor);
      }
      if (tensor.requires_grad()) {
        wanted.push_back(tensor);
        places.push_back(i);
      }
    }
    at::Tensor output;
    {
      at::AutoGradMode with_graph(true);
      AsBefore scope(inputs[0].device(), ctx->saved_data["states"].toTensorVector(),
                     ctx->saved_data["autocast"].toBool());
      output = (*part)(inputs);
    }
    auto found = torch::autograd::grad({output}, wanted, {grads[0]}, std::nullopt, false, /*allow_unused=*/true);
    torch::autograd::variable_list result(tensors.size());
    for (size_t i = 0; i < places.size(); i++) result[places[i]] = found[i];
    result.emplace_back();  // n
    result.emplace_back();  // part
    return result;
  }
};

}  // namespace

extern "C" {

// output = run(inputs). Takes ownership of the closure, also on failure.
char* paella_recompute(at::Tensor** tensors, int64_t inputs, int64_t n, Run run, Drop drop, void* closure,
                       at::Tensor** output) {
  auto part = c10::make_intrusive<Part>(run, drop, closure);
  GUARD({
    std::vector<at::Tensor> all;
    for (int64_t i = 0; i < n; i++) all.push_back(*tensors[i]);
    *output = new at::Tensor(Recompute::apply(at::TensorList(all), inputs, part));
  })
}
}
