"""The kernels of `condinst.ops.matrix_nms`."""
