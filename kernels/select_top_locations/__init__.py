"""The kernels of `condinst.ops.select_top_locations`."""
