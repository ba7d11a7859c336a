"""The kernels of `condinst.ops.dice_loss`."""
