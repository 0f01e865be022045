// Loops over f32 values on the CPU, free of libtorch: compiled once for each kind of processor, chosen when the program
// starts. Pictures lie channel after channel, position after position, picture after picture: (B, P, C) or (B, H, W, C).
#pragma once
#include <cstdint>

namespace kernels {
constexpr int64_t BLOCK = 64;  // channels that a task of channels takes
constexpr int WORDS = 624;     // of the Mersenne twister's state

// h = gelu(a), energy = sum of h * h over positions: of channels [from, to) of one picture (P, C).
void gelu_energy(const float* a, float* h, float* energy, int64_t positions, int64_t channels, int64_t from, int64_t to);

// y = (h * gain + beta) * (kept ? scale : 0), of positions [from, to) of one picture. `kept` may be null: all are.
void gain(const float* h, const float* gain, const float* beta, const uint8_t* kept, float scale, float* y,
          int64_t channels, int64_t from, int64_t to);

// sums = sum of d, products = sum of d * h over positions, where d = dy * (kept ? scale : 0): of channels [from, to).
void gain_sums(const float* dy, const float* h, const uint8_t* kept, float scale, float* sums, float* products,
               int64_t positions, int64_t channels, int64_t from, int64_t to);

// da = (d * gain + h * pull) * gelu'(a), of positions [from, to) of one picture.
void gain_gelu_back(const float* dy, const float* h, const float* a, const float* gain, const float* pull,
                    const uint8_t* kept, float scale, float* da, int64_t channels, int64_t from, int64_t to);

struct Grid {
  int64_t height, width, channels, kernel;  // `kernel` is odd; outside of the picture there are zeros
};

// ys = bias + depthwise convolution of xs, of row `row` of one picture. weight (kernel * kernel, C); bias may be null.
void depthwise_row(const Grid& grid, const float* xs, const float* weight, const float* bias, float* ys, int64_t row);

// dw (kernel * kernel, C) += what one picture gives, db (C) too: of channels [from, from + BLOCK) or to the end.
void depthwise_weight_back(const Grid& grid, const float* xs, const float* dy, float* dw, float* db, int64_t from);

// The Mersenne twister: its words, and the first of them that is unused.
struct Twister {
  uint32_t* state;
  uint32_t next;
};

// kept[i] = 1 with probability `keep`: the numbers that `bernoulli_` draws.
void bernoulli(Twister& twister, double keep, uint8_t* kept, int64_t n);

// Uniform numbers in [0, 1) of 53 bits: those that `uniform_` and `exponential_` draw.
void uniform(Twister& twister, double* out, int64_t n);

// Index of the largest scores[k] / waits[k]; -1 if a score is no number.
int64_t soonest(const float* scores, const double* waits, int64_t k);

struct Adam {
  float lr, beta1, beta2, weight_decay, eps, correction1, correction2_root, factor;
};
// One AdamW update of n values; gradients count `factor` times.
void adamw(const Adam& at, float* p, const float* g, float* m, float* v, int64_t n);

// Sum of squares.
double squares(const float* xs, int64_t n);
}  // namespace kernels
