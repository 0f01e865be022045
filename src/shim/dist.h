// Shared by the parts of the shim that communicate with other processes.
#pragma once
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <vector>

struct Group {
  c10::intrusive_ptr<c10d::ProcessGroup> ranks;
};

std::vector<at::Tensor> list(at::Tensor** tensors, int64_t n);
