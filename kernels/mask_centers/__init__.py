"""The kernels of `condinst.ops.mask_centers`."""
