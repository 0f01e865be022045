// The graph functions of the library with CUDA's half of the shim, looked up when they are first wanted.
#include "guard.h"
#include <dlfcn.h>

namespace {
struct Calls {
  char* (*enter)(void**);
  char* (*begin)(void*);
  char* (*end)(void*);
  char* (*leave)(void*);
  char* (*replay)(void*);
  void (*free)(void*);
} calls;

template <class F>
void find(void* handle, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(handle, name));
  TORCH_CHECK(function, "no ", name);
}
}  // namespace

extern "C" {

char* paella_graph_load(const char* library) {
  GUARD({
    TORCH_CHECK(library[0] != 0, "this program was built without CUDA's headers");
    void* handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
    TORCH_CHECK(handle, dlerror());
    find(handle, "paella_cuda_graph_enter", calls.enter);
    find(handle, "paella_cuda_graph_begin", calls.begin);
    find(handle, "paella_cuda_graph_end", calls.end);
    find(handle, "paella_cuda_graph_leave", calls.leave);
    find(handle, "paella_cuda_graph_replay", calls.replay);
    find(handle, "paella_cuda_graph_free", calls.free);
  })
}

char* paella_graph_enter(void** graph) { return calls.enter(graph); }
char* paella_graph_begin(void* graph) { return calls.begin(graph); }
char* paella_graph_end(void* graph) { return calls.end(graph); }
char* paella_graph_leave(void* graph) { return calls.leave(graph); }
char* paella_graph_replay(void* graph) { return calls.replay(graph); }
void paella_graph_free(void* graph) { calls.free(graph); }
}
