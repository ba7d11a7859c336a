"""The kernels of `condinst.ops.dynamic_mask_head`."""
