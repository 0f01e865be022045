// Loops of the shim on libtorch's threads.
#pragma once
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <algorithm>

// f(0) .. f(n - 1), on libtorch's threads. They belong to the OpenMP that is compiled into libtorch: at::parallel_for would
// start a second one from here. Its iterators run there; this one goes over n bytes.
template <class F>
void in_parallel(int64_t n, const F& f) {
  if (n <= 1 || at::get_num_threads() == 1 || at::in_parallel_region()) {
    for (int64_t i = 0; i < n; i++) f(i);
    return;
  }
  auto tasks = at::empty({n}, at::kByte);
  auto* first = static_cast<char*>(tasks.data_ptr());
  at::TensorIterator::nullary_op(tasks).for_each(
      [&](char** data, const int64_t*, int64_t count) {
        for (int64_t i = 0; i < count; i++) f(data[0] - first + i);
      },
      1);
}

inline int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

// Calls f(picture, from, to) for all pictures and parts of `n` values.
template <class F>
void in_parts(int64_t pictures, int64_t n, int64_t size, const F& f) {
  const int64_t each = parts(n, size);
  in_parallel(pictures * each, [&](int64_t i) { f(i / each, i % each * size, std::min(n, (i % each + 1) * size)); });
}
