"""The kernels of `condinst.ops.fcos_targets`."""
