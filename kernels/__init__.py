"""The kernels: all that computes and knows neither PyTorch's C++ API nor Python objects; one folder per operator."""
