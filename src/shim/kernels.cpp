#include "kernels.h"
#include <algorithm>
#include <cmath>
#include <cstring>

// One version for every kind of processor; the loader picks (gcc's and clang's function multiversioning).
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define INLINE static inline __attribute__((always_inline))

namespace kernels {
namespace {

// e^x for x <= 0 within 2 units of the last place (Cephes' expf), 0 below -87.
INLINE float exp_below(float x) {
  x = std::max(x, -87.0f);
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  float n = (x * 1.44269504f + magic) - magic;
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  float e = p * r * r + r + 1.0f;
  int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, 4);
  return e * power;
}

// The normal distribution up to a, and its density at a. Absolute error of the first 1e-7 (Abramowitz & Stegun 7.1.26).
INLINE void normal(float a, float& below, float& density) {
  float x = std::fabs(a) * 0.70710678f;
  float t = 1.0f / (1.0f + 0.3275911f * x);
  float e = exp_below(-x * x);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  float tail = 0.5f * p * t * e;  // 1 - below(|a|)
  below = a < 0.0f ? tail : 1.0f - tail;
  density = 0.39894228f * e;
}

INLINE float weighted(float d, const uint8_t* kept, float scale, int64_t i) { return kept ? d * (kept[i] * scale) : d; }
}  // namespace

CLONES void gelu_energy(const float* __restrict a, float* __restrict h, float* __restrict energy, int64_t positions,
                        int64_t channels, int64_t from, int64_t to) {
  for (int64_t c = from; c < to; c++) energy[c] = 0.0f;
  for (int64_t p = 0; p < positions; p++) {
    const float* in = a + p * channels;
    float* out = h + p * channels;
    for (int64_t c = from; c < to; c++) {
      float below, density;
      normal(in[c], below, density);
      float value = in[c] * below;
      out[c] = value;
      energy[c] += value * value;
    }
  }
}

CLONES void gain(const float* h, const float* __restrict gain, const float* __restrict beta,
                 const uint8_t* __restrict kept, float scale, float* y, int64_t channels, int64_t from, int64_t to) {
  for (int64_t p = from; p < to; p++) {
    const float* in = h + p * channels;
    float* out = y + p * channels;
    if (kept) {
      const uint8_t* mask = kept + p * channels;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; c++) out[c] = (in[c] * gain[c] + beta[c]) * (mask[c] * scale);
    } else {
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; c++) out[c] = in[c] * gain[c] + beta[c];
    }
  }
}

CLONES void gain_sums(const float* __restrict dy, const float* __restrict h, const uint8_t* __restrict kept, float scale,
                      float* __restrict sums, float* __restrict products, int64_t positions, int64_t channels,
                      int64_t from, int64_t to) {
  for (int64_t c = from; c < to; c++) sums[c] = products[c] = 0.0f;
  for (int64_t p = 0; p < positions; p++) {
    int64_t row = p * channels;
    if (kept) {
      for (int64_t c = from; c < to; c++) {
        float d = weighted(dy[row + c], kept, scale, row + c);
        sums[c] += d;
        products[c] += d * h[row + c];
      }
    } else {
      for (int64_t c = from; c < to; c++) {
        sums[c] += dy[row + c];
        products[c] += dy[row + c] * h[row + c];
      }
    }
  }
}

CLONES void gain_gelu_back(const float* __restrict dy, const float* __restrict h, const float* __restrict a,
                           const float* __restrict gain, const float* __restrict pull, const uint8_t* __restrict kept,
                           float scale, float* __restrict da, int64_t channels, int64_t from, int64_t to) {
  for (int64_t p = from; p < to; p++) {
    int64_t row = p * channels;
    if (kept) {
      for (int64_t c = 0; c < channels; c++) {
        float below, density, x = a[row + c];
        normal(x, below, density);
        float d = weighted(dy[row + c], kept, scale, row + c);
        da[row + c] = (d * gain[c] + h[row + c] * pull[c]) * (below + x * density);
      }
    } else {
      for (int64_t c = 0; c < channels; c++) {
        float below, density, x = a[row + c];
        normal(x, below, density);
        da[row + c] = (dy[row + c] * gain[c] + h[row + c] * pull[c]) * (below + x * density);
      }
    }
  }
}

CLONES void depthwise_row(const Grid& grid, const float* __restrict xs, const float* __restrict weight,
                          const float* __restrict bias, float* __restrict ys, int64_t row) {
  const int64_t channels = grid.channels, half = grid.kernel / 2;
  for (int64_t x = 0; x < grid.width; x++) {
    float* out = ys + (row * grid.width + x) * channels;
    for (int64_t c0 = 0; c0 < channels; c0 += BLOCK) {
      const int64_t n = std::min(BLOCK, channels - c0);
      float sum[BLOCK];
      for (int64_t j = 0; j < n; j++) sum[j] = bias ? bias[c0 + j] : 0.0f;
      for (int64_t i = std::max<int64_t>(0, half - row); i < grid.kernel && row + i - half < grid.height; i++) {
        for (int64_t k = std::max<int64_t>(0, half - x); k < grid.kernel && x + k - half < grid.width; k++) {
          const float* in = xs + ((row + i - half) * grid.width + x + k - half) * channels + c0;
          const float* w = weight + (i * grid.kernel + k) * channels + c0;
          if (n == BLOCK) {
            for (int64_t j = 0; j < BLOCK; j++) sum[j] += w[j] * in[j];
          } else {
            for (int64_t j = 0; j < n; j++) sum[j] += w[j] * in[j];
          }
        }
      }
      for (int64_t j = 0; j < n; j++) out[c0 + j] = sum[j];
    }
  }
}

CLONES void depthwise_weight_back(const Grid& grid, const float* __restrict xs, const float* __restrict dy,
                                  float* __restrict dw, float* __restrict db, int64_t from) {
  const int64_t channels = grid.channels, half = grid.kernel / 2, n = std::min(BLOCK, channels - from);
  for (int64_t p = 0; p < grid.height * grid.width; p++) {
    const float* d = dy + p * channels + from;
    for (int64_t j = 0; j < n; j++) db[from + j] += d[j];
  }
  for (int64_t i = 0; i < grid.kernel; i++) {
    for (int64_t k = 0; k < grid.kernel; k++) {
      float sum[BLOCK] = {};
      for (int64_t y = std::max<int64_t>(0, half - i); y < grid.height && y + i - half < grid.height; y++) {
        for (int64_t x = std::max<int64_t>(0, half - k); x < grid.width && x + k - half < grid.width; x++) {
          const float* d = dy + (y * grid.width + x) * channels + from;
          const float* in = xs + ((y + i - half) * grid.width + x + k - half) * channels + from;
          if (n == BLOCK) {
            for (int64_t j = 0; j < BLOCK; j++) sum[j] += d[j] * in[j];
          } else {
            for (int64_t j = 0; j < n; j++) sum[j] += d[j] * in[j];
          }
        }
      }
      float* out = dw + (i * grid.kernel + k) * channels + from;
      for (int64_t j = 0; j < n; j++) out[j] += sum[j];
    }
  }
}

namespace {
constexpr int SHIFT = 397;

INLINE uint32_t twist(uint32_t u, uint32_t v) {
  return (((u & 0x80000000u) | (v & 0x7fffffffu)) >> 1) ^ ((v & 1u) ? 0x9908b0dfu : 0u);
}

INLINE uint32_t temper(uint32_t y) {
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

CLONES void next_words(uint32_t* s) {
  // a word depends on those 1 and 397 further on: parts of at most 227 words can be made side by side
#pragma GCC ivdep
  for (int i = 0; i < WORDS - SHIFT; i++) s[i] = s[i + SHIFT] ^ twist(s[i], s[i + 1]);
#pragma GCC ivdep
  for (int i = WORDS - SHIFT; i < 2 * (WORDS - SHIFT); i++) s[i] = s[i + SHIFT - WORDS] ^ twist(s[i], s[i + 1]);
#pragma GCC ivdep
  for (int i = 2 * (WORDS - SHIFT); i < WORDS - 1; i++) s[i] = s[i + SHIFT - WORDS] ^ twist(s[i], s[i + 1]);
  s[WORDS - 1] = s[SHIFT - 1] ^ twist(s[WORDS - 1], s[0]);
}

// 53 bits of two words, the first of which is the upper half.
INLINE double unit(uint32_t high, uint32_t low) {
  uint64_t bits = ((static_cast<uint64_t>(high) << 32) | low) & ((1ull << 53) - 1);
  return static_cast<double>(static_cast<int64_t>(bits)) * (1.0 / (1ull << 53));
}

// Calls `put(i, number)` for each of n numbers.
template <class Put>
INLINE void draw(Twister& twister, int64_t n, Put put) {
  for (int64_t i = 0; i < n;) {
    if (twister.next >= WORDS - 1) {  // one word or none is left: the pair may lie across two states
      uint32_t pair[2];
      for (uint32_t& word : pair) {
        if (twister.next == WORDS) {
          next_words(twister.state);
          twister.next = 0;
        }
        word = temper(twister.state[twister.next++]);
      }
      put(i++, unit(pair[0], pair[1]));
      continue;
    }
    const uint32_t* words = twister.state + twister.next;
    const int64_t count = std::min<int64_t>((WORDS - twister.next) / 2, n - i);
    for (int64_t j = 0; j < count; j++) put(i + j, unit(temper(words[2 * j]), temper(words[2 * j + 1])));
    twister.next += static_cast<uint32_t>(2 * count);
    i += count;
  }
}
}  // namespace

CLONES void bernoulli(Twister& twister, double keep, uint8_t* __restrict kept, int64_t n) {
  draw(twister, n, [&](int64_t i, double u) __attribute__((always_inline)) { kept[i] = u < keep; });
}

CLONES void uniform(Twister& twister, double* __restrict out, int64_t n) {
  draw(twister, n, [&](int64_t i, double u) __attribute__((always_inline)) { out[i] = u; });
}

CLONES int64_t soonest(const float* scores, const double* waits, int64_t k) {
  float best = -1.0f, total = 0.0f;
  int64_t at = -1;
  for (int64_t first = 0; first < k; first += BLOCK) {
    const int64_t n = std::min(BLOCK, k - first);
    float values[BLOCK], largest = -1.0f;
    for (int64_t j = 0; j < n; j++) values[j] = scores[first + j] / static_cast<float>(waits[first + j]);
    for (int64_t j = 0; j < n; j++) largest = values[j] > largest ? values[j] : largest;
    for (int64_t j = 0; j < n; j++) total += scores[first + j];
    if (largest > best) {  // seldom: looking for its place may take longer
      best = largest;
      at = first + (std::find(values, values + n, largest) - values);
    }
  }
  return std::isfinite(total) ? at : -1;
}

CLONES void adamw(const Adam& at, float* __restrict p, const float* __restrict g, float* __restrict m,
                  float* __restrict v, int64_t n) {
  const float step = at.lr / at.correction1, shrink = 1.0f - at.lr * at.weight_decay;
  for (int64_t i = 0; i < n; i++) {
    float grad = g[i] * at.factor;
    m[i] = m[i] + (1.0f - at.beta1) * (grad - m[i]);
    v[i] = v[i] * at.beta2 + (1.0f - at.beta2) * grad * grad;
    p[i] = p[i] * shrink - step * m[i] / (std::sqrt(v[i]) / at.correction2_root + at.eps);
  }
}

CLONES double squares(const float* xs, int64_t n) {
  double total = 0.0;
  for (int64_t i = 0; i < n;) {
    float part[BLOCK] = {};
    const int64_t end = std::min(n, i + 64 * BLOCK);
    for (; i + BLOCK <= end; i += BLOCK)
      for (int64_t j = 0; j < BLOCK; j++) part[j] += xs[i + j] * xs[i + j];
    for (; i < end; i++) part[0] += xs[i] * xs[i];
    for (float value : part) total += value;
  }
  return total;
}
}  // namespace kernels
