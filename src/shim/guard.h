// Every function of the shim returns null, or a message for the caller to free(). No exception reaches Rust.
#pragma once
#include <c10/util/Exception.h>
#include <cstring>
#include <exception>

#define GUARD(...)                              \
  try {                                         \
    __VA_ARGS__;                                \
    return nullptr;                             \
  } catch (const c10::Error& e) {               \
    return strdup(e.what_without_backtrace());  \
  } catch (const std::exception& e) {           \
    return strdup(e.what());                    \
  }
