"""The kernels of `condinst.ops.decode_detections`."""
