"""The kernels: code that computes, without PyTorch's C++ API and Python objects. Each operator has a folder."""
