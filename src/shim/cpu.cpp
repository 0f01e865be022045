// Operators of the CPU that libtorch has slow or not in one pass, over f32 values, with their gradients.
#include "guard.h"
#include "kernels.h"
#include "parallel.h"
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>
#include <cmath>
#include <mutex>
#include <torch/csrc/autograd/custom_function.h>

namespace {
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The default generator's words, taken over while this lives.
class Draws {
 public:
  Draws()
      : generator_(at::get_generator_or_default<at::CPUGeneratorImpl>(std::nullopt, at::detail::getDefaultCPUGenerator())),
        lock_(generator_->mutex_), engine_(generator_->engine()), data_(engine_.data()) {
    twister.state = data_.state_.data();
    twister.next = data_.left_ == 1 ? kernels::WORDS : data_.next_;  // also right after seeding
  }
  ~Draws() {
    data_.next_ = twister.next;
    data_.left_ = kernels::WORDS + 1 - static_cast<int>(twister.next);
    engine_.set_data(data_);
    generator_->set_engine(engine_);
  }
  kernels::Twister twister;

 private:
  at::CPUGeneratorImpl* generator_;
  std::lock_guard<std::mutex> lock_;
  at::mt19937 engine_;
  at::mt19937_data_pod data_;
};

const float* data(const at::Tensor& xs) { return xs.defined() ? xs.const_data_ptr<float>() : nullptr; }
float* mutable_data(at::Tensor& xs) { return xs.mutable_data_ptr<float>(); }
const uint8_t* mask(const at::Tensor& xs) { return xs.defined() ? xs.const_data_ptr<uint8_t>() : nullptr; }

// Positions that one task takes.
constexpr int64_t ROWS = 16;

// Channel norms over a picture, in shares of their mean: energy (B, C), sums of squares, becomes norms. Returns the means
// + 1e-6 (B).
std::vector<float> norms(float* energy, int64_t pictures, int64_t channels) {
  std::vector<float> means;
  for (int64_t b = 0; b < pictures; b++) {
    double sum = 0.0;
    for (int64_t c = 0; c < channels; c++) {
      float& norm = energy[b * channels + c];
      norm = std::sqrt(norm);
      sum += norm;
    }
    means.push_back(static_cast<float>(sum / channels) + 1e-6f);
  }
  return means;
}

// GELU, response norm, dropout: a (B, .., C) -> (B, .., C).
struct GeluNorm : torch::autograd::Function<GeluNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& wide, const at::Tensor& gamma,
                            const at::Tensor& beta, double dropout, bool keep) {
    auto a = wide.contiguous();
    const int64_t b = a.size(0), c = a.size(-1), p = a.numel() / std::max<int64_t>(1, b * c);
    auto h = keep ? at::empty_like(a) : a;  // nobody asks for `a` again where no gradient is kept
    auto energy = at::empty({b, c}, a.options()), gain = at::empty({b, c}, a.options());
    const float *in = data(a), *g = data(gamma), *offset = data(beta);
    float *hidden = mutable_data(h), *e = mutable_data(energy), *gains = mutable_data(gain);
    in_parts(b, c, kernels::BLOCK, [&](int64_t i, int64_t from, int64_t to) {
      kernels::gelu_energy(in + i * p * c, hidden + i * p * c, e + i * c, p, c, from, to);
    });
    const auto means = norms(e, b, c);
    for (int64_t i = 0; i < b * c; i++) gains[i] = g[i % c] * (e[i] / means[i / c]) + 1.0f;
    at::Tensor kept;
    if (dropout > 0.0) {
      kept = at::empty(a.sizes(), a.options().dtype(at::kByte));
      Draws draws;
      kernels::bernoulli(draws.twister, 1.0 - dropout, kept.mutable_data_ptr<uint8_t>(), kept.numel());
    }
    const float scale = 1.0f / static_cast<float>(1.0 - dropout);
    auto y = keep ? at::empty_like(a) : h;
    float* out = mutable_data(y);
    const uint8_t* keeps = mask(kept);
    in_parts(b, p, ROWS, [&](int64_t i, int64_t from, int64_t to) {
      const int64_t at = i * p * c;
      kernels::gain(hidden + at, gains + i * c, offset, keeps ? keeps + at : nullptr, scale, out + at, c, from, to);
    });
    if (keep) ctx->save_for_backward({a, h, gamma, energy, gain, kept});
    ctx->saved_data["scale"] = scale;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const auto &a = saved[0], &h = saved[1], &gamma = saved[2], &energy = saved[3], &gain = saved[4], &kept = saved[5];
    const auto scale = static_cast<float>(ctx->saved_data["scale"].toDouble());
    auto dy = grads[0].contiguous();
    const int64_t b = a.size(0), c = a.size(-1), p = a.numel() / std::max<int64_t>(1, b * c);
    auto sums = at::empty({b, c}, a.options()), products = at::empty({b, c}, a.options());
    auto pull = at::empty({b, c}, a.options()), da = at::empty_like(a);
    auto dgamma = at::zeros_like(gamma), dbeta = at::zeros_like(gamma);
    const float *d = data(dy), *hidden = data(h), *in = data(a), *g = data(gamma), *e = data(energy), *gains = data(gain);
    float *s = mutable_data(sums), *ds = mutable_data(products), *pulls = mutable_data(pull), *out = mutable_data(da);
    float *dg = mutable_data(dgamma), *db = mutable_data(dbeta);
    const uint8_t* keeps = mask(kept);
    const auto of = [&](int64_t i) { return keeps ? keeps + i * p * c : nullptr; };
    in_parts(b, c, kernels::BLOCK, [&](int64_t i, int64_t from, int64_t to) {
      const int64_t at = i * p * c;
      kernels::gain_sums(d + at, hidden + at, of(i), scale, s + i * c, ds + i * c, p, c, from, to);
    });
    for (int64_t i = 0; i < b; i++) {
      double total = 0.0, drawn = 0.0;
      for (int64_t j = i * c; j < (i + 1) * c; j++) total += e[j];
      const float mean = static_cast<float>(total / c) + 1e-6f;
      // the gradient of a share: its own norm moves it, and every norm moves the mean
      for (int64_t j = i * c; j < (i + 1) * c; j++) drawn += g[j % c] * ds[j] * e[j];
      const float common = static_cast<float>(drawn / (static_cast<double>(mean) * mean * c));
      for (int64_t j = i * c; j < (i + 1) * c; j++) {
        pulls[j] = e[j] > 0.0f ? (g[j % c] * ds[j] / mean - common) / e[j] : 0.0f;
        dg[j % c] += ds[j] * (e[j] / mean);
        db[j % c] += s[j];
      }
    }
    in_parts(b, p, ROWS, [&](int64_t i, int64_t from, int64_t to) {
      const int64_t at = i * p * c;
      kernels::gain_gelu_back(d + at, hidden + at, in + at, gains + i * c, pulls + i * c, of(i), scale, out + at, c, from,
                              to);
    });
    return {da, dgamma, dbeta, at::Tensor(), at::Tensor()};
  }
};

// xs (1 + a) + b for each picture and channel: xs (B, C, H, W), ab (B, 2 C) -> (B, C, H, W), channels last in memory.
struct ScaleShift : torch::autograd::Function<ScaleShift> {
  static at::Tensor run(const at::Tensor& last, const float* gains, const float* offsets) {
    auto ys = at::empty_like(last);
    const float* in = data(last);
    float* out = mutable_data(ys);
    const int64_t b = last.size(0), p = last.size(1) * last.size(2), c = last.size(3);
    in_parts(b, p, ROWS, [&](int64_t i, int64_t from, int64_t to) {
      const int64_t at = i * p * c;
      kernels::gain(in + at, gains + i * c, offsets + i * c, nullptr, 1.0f, out + at, c, from, to);
    });
    return ys.permute({0, 3, 1, 2});
  }

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& xs, const at::Tensor& ab) {
    auto last = xs.permute({0, 2, 3, 1}).contiguous();
    const int64_t c = last.size(3);
    auto gain = ab.narrow(1, 0, c) + 1.0, offset = ab.narrow(1, c, c).contiguous();
    ctx->save_for_backward({last, gain});
    return run(last, data(gain), data(offset));
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const auto &last = saved[0], &gain = saved[1];
    auto dy = grads[0].permute({0, 2, 3, 1}).contiguous();
    const int64_t b = last.size(0), p = last.size(1) * last.size(2), c = last.size(3);
    auto da = at::empty({b, c}, last.options()), db = at::empty({b, c}, last.options());
    const float *d = data(dy), *in = data(last);
    float *products = mutable_data(da), *sums = mutable_data(db);
    in_parts(b, c, kernels::BLOCK, [&](int64_t i, int64_t from, int64_t to) {
      const int64_t at = i * p * c;
      kernels::gain_sums(d + at, in + at, nullptr, 1.0f, sums + i * c, products + i * c, p, c, from, to);
    });
    return {run(dy, data(gain), data(at::zeros({b, c}, last.options()))), at::cat({da, db}, 1)};
  }
};

// Depthwise convolution with an odd window and as many zeros around as keep the size: (B, C, H, W) -> (B, C, H, W), both with
// the channels last in memory.
struct Depthwise : torch::autograd::Function<Depthwise> {
  static at::Tensor run(const kernels::Grid& grid, const at::Tensor& xs, const at::Tensor& weight, const float* bias) {
    auto ys = at::empty_like(xs);
    const float *in = data(xs), *w = data(weight);
    float* out = mutable_data(ys);
    const int64_t picture = grid.height * grid.width * grid.channels;
    in_parallel(xs.size(0) * grid.height, [&](int64_t i) {
      const int64_t at = i / grid.height * picture;
      kernels::depthwise_row(grid, in + at, w, bias, out + at, i % grid.height);
    });
    return ys;
  }

  static kernels::Grid grid(const at::Tensor& last, const at::Tensor& weight) {
    return {last.size(1), last.size(2), last.size(3), weight.size(-1)};
  }

  static at::Tensor taps(const at::Tensor& weight) { return weight.flatten(1).t().contiguous(); }  // (k * k, C)

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& xs, const at::Tensor& weight, const at::Tensor& bias) {
    auto last = xs.permute({0, 2, 3, 1}).contiguous();
    ctx->save_for_backward({last, weight});
    return run(grid(last, weight), last, taps(weight), data(bias)).permute({0, 3, 1, 2});
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const auto &last = saved[0], &weight = saved[1];
    const auto shape = grid(last, weight);
    auto dy = grads[0].permute({0, 2, 3, 1}).contiguous();
    auto dx = run(shape, dy, taps(weight).flip(0), nullptr).permute({0, 3, 1, 2});
    auto dw = at::zeros({shape.kernel * shape.kernel, shape.channels}, last.options());
    auto db = at::zeros({shape.channels}, last.options());
    const float *in = data(last), *d = data(dy);
    float *w = mutable_data(dw), *b = mutable_data(db);
    const int64_t picture = shape.height * shape.width * shape.channels;
    in_parallel(parts(shape.channels, kernels::BLOCK), [&](int64_t i) {
      for (int64_t at = 0; at < last.numel(); at += picture)
        kernels::depthwise_weight_back(shape, in + at, d + at, w, b, i * kernels::BLOCK);
    });
    return {dx, dw.t().reshape(weight.sizes()), db};
  }
};
}  // namespace

extern "C" {

// Whether the operators below take this tensor: f32 on the CPU, and no autocast that would compute in 16 bits.
bool paella_plain(at::Tensor* xs) {
  return xs->is_cpu() && xs->scalar_type() == at::kFloat && !at::autocast::is_autocast_enabled(at::kCPU);
}

// dropout(response norm(gelu(a))). Where no gradient is kept, the memory of `a` is used for the result.
char* paella_gelu_norm(at::Tensor* a, at::Tensor* gamma, at::Tensor* beta, double dropout, at::Tensor** out) {
  GUARD({
    bool keep = at::GradMode::is_enabled() && (a->requires_grad() || gamma->requires_grad() || beta->requires_grad());
    *out = new at::Tensor(GeluNorm::apply(*a, *gamma, *beta, dropout, keep));
  })
}

char* paella_scale_shift(at::Tensor* xs, at::Tensor* ab, at::Tensor** out) {
  GUARD(*out = new at::Tensor(ScaleShift::apply(*xs, *ab)))
}

char* paella_depthwise(at::Tensor* xs, at::Tensor* weight, at::Tensor* bias, at::Tensor** out) {
  GUARD(*out = new at::Tensor(Depthwise::apply(*xs, *weight, *bias)))
}

// One index for each row of probs (N, K): what `multinomial` draws, from the same random numbers. They go along rows, or if
// `by_column` down the columns, as they do for libtorch where probs lie so in memory.
char* paella_multinomial(at::Tensor* probs, bool by_column, at::Tensor** out) {
  GUARD({
    at::NoGradGuard no_grad;
    auto rows = probs->contiguous();
    const int64_t n = rows.size(0), k = rows.size(1);
    auto waits = by_column ? at::empty({k, n}, at::kDouble) : at::empty({n, k}, at::kDouble);
    {
      Draws draws;
      kernels::uniform(draws.twister, waits.mutable_data_ptr<double>(), n * k);
    }
    waits.neg_().log1p_().neg_();  // exponential: the code whose wait, divided by its probability, is over first
    if (by_column) waits = waits.t().contiguous();
    auto drawn = at::empty({n}, at::kLong);
    const float* p = data(rows);
    const double* w = waits.const_data_ptr<double>();
    int64_t* index = drawn.mutable_data_ptr<int64_t>();
    in_parallel(n, [&](int64_t i) { index[i] = kernels::soonest(p + i * k, w + i * k, k); });
    TORCH_CHECK(n == 0 || drawn.min().item<int64_t>() >= 0,
                "probability tensor contains either `inf`, `nan` or element < 0");
    *out = new at::Tensor(drawn);
  })
}
}
