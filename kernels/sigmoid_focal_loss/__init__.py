"""The kernels of `condinst.ops.sigmoid_focal_loss`."""
