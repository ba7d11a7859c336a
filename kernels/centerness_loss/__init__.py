"""The kernels of `condinst.ops.centerness_loss`."""
