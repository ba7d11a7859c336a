// Describes the CUDA part of the library: its compilation, and whether this machine can run it.
#pragma once

#include <string>

namespace condinst {

// For example "compiled with CUDA 13.0 for sm_80, sm_90; driver supports CUDA 13.0".
std::string cuda_info();

}  // namespace condinst
