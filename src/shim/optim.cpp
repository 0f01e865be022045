// The update of the weights: norm of the gradients, AdamW, moving averages.
#include "guard.h"
#include "kernels.h"
#include "parallel.h"
#include <ATen/ATen.h>
#include <cmath>
#include <mutex>
#include <vector>

namespace {
// Values that one task takes.
constexpr int64_t CHUNK = 1 << 15;

// Part of a tensor.
struct Chunk {
  size_t tensor;
  int64_t from, count;
};

// Whether loops over raw f32 values can take these: libtorch's own take the others.
bool raw(const std::vector<at::Tensor>& all) {
  return std::all_of(all.begin(), all.end(), [](const at::Tensor& xs) {
    return xs.is_cpu() && xs.scalar_type() == at::kFloat && xs.is_non_overlapping_and_dense();
  });
}

std::vector<Chunk> chunks(const std::vector<at::Tensor>& all) {
  std::vector<Chunk> result;
  for (size_t i = 0; i < all.size(); i++)
    for (int64_t from = 0; from < all[i].numel(); from += CHUNK)
      result.push_back({i, from, std::min(CHUNK, all[i].numel() - from)});
  return result;
}

// Whether the values of all lists lie in memory in one order.
bool alike(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  for (size_t i = 0; i < a.size(); i++)
    if (a[i].strides() != b[i].strides()) return false;
  return raw(b);
}
}  // namespace

extern "C" {

// Total 2-norm of all gradients.
char* paella_grad_norm(at::Tensor** params, int64_t n, at::Tensor** norm) {
  GUARD({
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> g;
    for (int64_t i = 0; i < n; i++)
      if (params[i]->grad().defined()) g.push_back(params[i]->grad());
    if (raw(g)) {
      const auto all = chunks(g);
      std::vector<double> sums(all.size());
      in_parallel(static_cast<int64_t>(all.size()), [&](int64_t i) {
        sums[i] = kernels::squares(g[all[i].tensor].const_data_ptr<float>() + all[i].from, all[i].count);
      });
      double total = 0.0;
      for (double sum : sums) total += sum;
      *norm = new at::Tensor(at::scalar_tensor(std::sqrt(total), at::kDouble));
    } else {
      *norm = new at::Tensor(at::stack(at::_foreach_norm(g, 2)).norm(2));
    }
  })
}

// One AdamW update of n parameters, with the gradients times `factor`. Those without a gradient are skipped, and their
// state does not change. On the CPU gradients stay as they are, else `factor` is multiplied into them.
char* paella_fused_adamw(at::Tensor** params, at::Tensor** exp_avgs, at::Tensor** exp_avg_sqs, at::Tensor** steps,
                         int64_t n, double lr, double beta1, double beta2, double weight_decay, double eps,
                         double factor) {
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
    if (!raw(p) || !alike(p, g) || !alike(p, m) || !alike(p, v)) {
      if (factor != 1.0) at::_foreach_mul_(g, factor);
      at::_fused_adamw_(p, g, m, v, {}, s, lr, beta1, beta2, weight_decay, eps, false, false);
      return nullptr;
    }
    std::vector<kernels::Adam> at;
    for (const auto& step : s) {
      const double count = step.item<double>();
      at.push_back({static_cast<float>(lr), static_cast<float>(beta1), static_cast<float>(beta2),
                    static_cast<float>(weight_decay), static_cast<float>(eps),
                    static_cast<float>(1.0 - std::pow(beta1, count)),
                    static_cast<float>(std::sqrt(1.0 - std::pow(beta2, count))), static_cast<float>(factor)});
    }
    const auto all = chunks(p);
    in_parallel(static_cast<int64_t>(all.size()), [&](int64_t i) {
      const auto [t, from, count] = all[i];
      kernels::adamw(at[t], p[t].mutable_data_ptr<float>() + from, g[t].const_data_ptr<float>() + from,
                     m[t].mutable_data_ptr<float>() + from, v[t].mutable_data_ptr<float>() + from, count);
    });
    for (const auto& param : p) param.unsafeGetTensorImpl()->bump_version();
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
}
