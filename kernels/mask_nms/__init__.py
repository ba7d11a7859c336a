"""The kernels of `condinst.ops.mask_nms`, and the overlap of packed masks, which `matrix_nms` shares."""
