// Registration of the functions of an operator, which serve CPU and CUDA tensors alike.
#pragma once

#include <torch/csrc/stable/library.h>

// CONDINST_LIBRARY_IMPL(m) { m.impl(...); } registers functions for the dispatch key CPU, and for CUDA if the library has
// CUDA kernels. Use it once per file, at global scope.
#if defined(CONDINST_WITH_CUDA)
#define CONDINST_LIBRARY_IMPL(m)                                                     \
  static void condinst_register(torch::stable::detail::StableLibrary& m);            \
  STABLE_TORCH_LIBRARY_IMPL(condinst, CPU, library) { condinst_register(library); }  \
  STABLE_TORCH_LIBRARY_IMPL(condinst, CUDA, library) { condinst_register(library); } \
  static void condinst_register(torch::stable::detail::StableLibrary& m)
#else
#define CONDINST_LIBRARY_IMPL(m) STABLE_TORCH_LIBRARY_IMPL(condinst, CPU, m)
#endif
