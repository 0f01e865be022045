// C functions for libtorch's c10d: the store for the rendezvous, process groups, and their exchanges.
#define USE_C10D_GLOO 1
#include "guard.h"
#include <c10/core/impl/VirtualGuardImpl.h>
#include <cstdlib>
#include <dlfcn.h>
#include <exception>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/comm.hpp>
#include <torch/csrc/distributed/c10d/debug.h>
#include "dist.h"

namespace {
using MakeNccl = char* (*)(const c10::intrusive_ptr<c10d::Store>*, int rank, int size, int64_t ms, c10d::Backend** out);

std::chrono::milliseconds millis(int64_t ms) { return std::chrono::milliseconds(ms); }

// The NCCL half is a separate library, present if CUDA is.
c10::intrusive_ptr<c10d::Backend> nccl(const char* library, const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                       int size, int64_t ms) {
  TORCH_CHECK(library[0] != 0, "this program was built without NCCL");
  void* handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
  TORCH_CHECK(handle, dlerror());
  auto make = reinterpret_cast<MakeNccl>(dlsym(handle, "paella_make_nccl"));
  TORCH_CHECK(make, dlerror());
  c10d::Backend* made = nullptr;
  char* message = make(&store, rank, size, ms, &made);
  if (message) {
    std::string text(message);
    free(message);
    TORCH_CHECK(false, text);
  }
  return c10::intrusive_ptr<c10d::Backend>::reclaim(made);
}

// Suppresses two warnings of the Reducer that do not matter here: no parameter was unused this time, and gradients of
// depthwise convolutions have another memory layout than their weights.
struct Warnings : c10::WarningHandler {
  void process(const c10::Warning& warning) override {
    for (const char* known : {"find_unused_parameters=True was specified", "Grad strides do not match bucket view"}) {
      if (warning.msg().find(known) != std::string::npos) return;
    }
    usual.process(warning);
  }
  c10::WarningHandler usual;
};

// Callback for an uncaught exception that is about to end the process. Receives its message.
using Ended = void (*)(const char* why);
Ended before_end = nullptr;
std::terminate_handler usual_end = nullptr;

std::string uncaught() {
  try {
    if (auto exception = std::current_exception()) std::rethrow_exception(exception);
  } catch (const c10::Error& e) {
    return e.what_without_backtrace();
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
  }
  return "the process was ended by libtorch";
}

void tell_and_end() {
  before_end(uncaught().c_str());
  std::this_thread::sleep_for(std::chrono::minutes(2)); // the callback's owner ends the process before this
  usual_end();
}

void finish(const c10::intrusive_ptr<c10d::Work>& work) {
  if (work) work->wait();
}
}  // namespace

std::vector<at::Tensor> list(at::Tensor** tensors, int64_t n) {
  std::vector<at::Tensor> all;
  all.reserve(n);
  for (int64_t i = 0; i < n; i++) all.push_back(*tensors[i]);
  return all;
}

extern "C" {

// NCCL's watchdog ends the process by throwing on its own thread. After this call `tell` is called first.
void paella_before_the_end(Ended tell) {
  before_end = tell;
  usual_end = std::set_terminate(tell_and_end);
}

// Opens the store that `host` serves (this process, if `serve`), with the key prefix `prefix`.
char* paella_store(const char* host, int port, bool serve, int size, int64_t ms, const char* prefix,
                   c10::intrusive_ptr<c10d::Store>** out) {
  GUARD({
    setenv("TORCH_CPP_LOG_LEVEL", "ERROR", 0);  // lost ranks are reported by this library, not by every socket
    c10::initLogging();
    c10d::setDebugLevelFromEnvironment();
    static Warnings warnings;
    c10::WarningUtils::set_warning_handler(&warnings);
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = serve;
    options.numWorkers = static_cast<size_t>(size);
    options.waitWorkers = false;
    options.timeout = millis(ms);
    options.multiTenant = serve;
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    *out = new c10::intrusive_ptr<c10d::Store>(c10::make_intrusive<c10d::PrefixStore>(prefix, tcp));
  })
}

char* paella_store_set(c10::intrusive_ptr<c10d::Store>* store, const char* key, const char* value) {
  GUARD((*store)->set(key, std::string(value)))
}

// The value of a key, or null if it is not set.
char* paella_store_get(c10::intrusive_ptr<c10d::Store>* store, const char* key, char** value) {
  GUARD({
    *value = nullptr;
    if ((*store)->check({key})) *value = strdup((*store)->get_to_str(key).c_str());
  })
}

void paella_store_drop(c10::intrusive_ptr<c10d::Store>* store) { delete store; }

// Forms the group of all ranks; each must call this. `library` is the NCCL library, empty for gloo. `device` is the GPU of
// this rank, below 0 for none. Gloo moves tensors of a GPU through the CPU if libtorch's CUDA half is loaded.
char* paella_group(c10::intrusive_ptr<c10d::Store>* store, bool use_nccl, const char* library, int rank, int size,
                   int device, int64_t ms, Group** out) {
  GUARD({
    auto group = c10::make_intrusive<c10d::ProcessGroup>(*store, rank, size);
    auto own = c10::make_intrusive<c10d::PrefixStore>(use_nccl ? "cuda/" : "cpu/", *store);
    auto type = use_nccl ? c10d::ProcessGroup::NCCL : c10d::ProcessGroup::GLOO;
    auto where = use_nccl ? c10::DeviceType::CUDA : c10::DeviceType::CPU;
    c10::intrusive_ptr<c10d::Backend> backend;
    at::Device gpu(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(std::max(device, 0)));
    if (device >= 0) c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).setDevice(gpu);
    if (use_nccl) {
      backend = nccl(library, own, rank, size, ms);
      group->setBoundDeviceId(gpu);
    } else {
      auto options = c10d::ProcessGroupGloo::Options::create_default(millis(ms));
      backend = c10::make_intrusive<c10d::ProcessGroupGloo>(own, rank, size, options);
    }
    backend->setSequenceNumberForGroup();
    group->setDefaultBackend(type);
    group->setBackend(where, type, backend);
    if (!use_nccl && device >= 0) group->setBackend(c10::DeviceType::CUDA, type, backend);
    group->setGroupName("0");
    group->setGroupDesc("default_pg");
    *out = new Group{group};
  })
}

// tensor becomes the sum over all ranks.
char* paella_all_reduce(Group* group, at::Tensor* tensor) {
  GUARD({
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> tensors{tensor->detach()};
    finish(group->ranks->allreduce(tensors));
  })
}

// Copies the tensors of rank 0 to all ranks, several per message.
char* paella_broadcast(Group* group, at::Tensor** tensors, int64_t n) {
  GUARD({
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> all;
    for (int64_t i = 0; i < n; i++) all.push_back(tensors[i]->detach());
    c10d::broadcast_coalesced(group->ranks, all, 250 << 20, 0);
  })
}

// `outs`: one tensor like `in` for every rank.
char* paella_all_gather(Group* group, at::Tensor* in, at::Tensor** outs) {
  GUARD({
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> own{in->detach()};
    std::vector<std::vector<at::Tensor>> all{list(outs, group->ranks->getSize())};
    finish(group->ranks->allgather(all, own));
  })
}

// Closes the connections. A group that is not `broken` says goodbye first.
char* paella_group_drop(Group* group, bool broken) {
  GUARD({
    std::unique_ptr<Group> owned(group);
    if (!broken) owned->ranks->shutdown();
  })
}
}
