"""The kernels of `condinst.ops.panoptic_merge`."""
