"""The kernels of `condinst.ops.giou_loss`."""
