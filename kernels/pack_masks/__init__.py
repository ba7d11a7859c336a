"""The kernels of `condinst.ops.pack_masks`."""
