"""The kernels of `condinst.ops.dynamic_mask_loss`."""
