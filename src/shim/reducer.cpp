// DistributedDataParallel's Reducer: averages gradients over the ranks in buckets during the backward pass.
#include "guard.h"
#include "dist.h"
#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

// The Reducer writes to its logger without checking that it has one.
struct Reduction {
  std::shared_ptr<c10d::Reducer> reducer;
  std::shared_ptr<c10d::Logger> logger;
};

extern "C" {

// Errors: the ranks' parameters differ in number, shape or kind.
char* paella_reducer(Group* group, at::Tensor** params, const char** names, int64_t n, int64_t bucket_bytes,
                     Reduction** out) {
  GUARD({
    auto all = list(params, n);
    c10d::verify_params_across_processes(group->ranks, all, std::nullopt);
    // the last layers' gradients come first: a small first bucket can be sent early
    size_t first = std::min<int64_t>(bucket_bytes, 1 << 20);
    std::vector<bool> sparse(n, false);
    auto buckets = std::get<0>(
        c10d::compute_bucket_assignment_by_size(all, {first, static_cast<size_t>(bucket_bytes)}, sparse));
    std::reverse(buckets.begin(), buckets.end());
    std::unordered_map<size_t, std::string> known;
    for (int64_t i = 0; i < n; i++) known[i] = names[i];
    bool find_unused = true;
    bool gradient_as_bucket_view = true;
    std::shared_ptr<c10d::Reducer> reducer(new c10d::Reducer(all, buckets, group->ranks, sparse, bucket_bytes,
                                                             find_unused, gradient_as_bucket_view, known, first,
                                                             false, false, {}));
    auto logger = std::make_shared<c10d::Logger>(reducer);
    reducer->set_logger(logger);
    *out = new Reduction{reducer, logger};
  })
}

// Call before a forward pass. `sync`: its backward pass exchanges gradients.
char* paella_reducer_forward(Reduction* it, bool sync) {
  GUARD({
    if (sync) it->reducer->prepare_for_forward();
    it->reducer->rebuild_buckets();
  })
}

// Call before the backward pass that exchanges gradients. Finds the parameters that `loss` does not depend on.
char* paella_reducer_backward(Reduction* it, at::Tensor* loss) {
  GUARD(it->reducer->prepare_for_backward({*loss}))
}

// Bytes of the first `n` buckets. `count` receives the number of buckets.
char* paella_reducer_buckets(Reduction* it, int64_t* bytes, int64_t n, int64_t* count) {
  GUARD({
    auto buckets = it->reducer->get_grad_buckets(true);
    *count = static_cast<int64_t>(buckets.size());
    for (int64_t i = 0; i < std::min(n, *count); i++) {
      bytes[i] = static_cast<int64_t>(buckets[i].getBuffer().nbytes());
    }
  })
}

void paella_reducer_drop(Reduction* it) { delete it; }
}
