"""The kernels of `condinst.ops.masks_to_rle`."""
