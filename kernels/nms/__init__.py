"""The kernels of `condinst.ops.nms`."""
