"""Time and memory of operators, beside what others do and beside what the machine can do at best.

``operators`` times any operator from its OpSpec; ``mask_head`` and ``mask_loss`` are the two studies of the dynamic
mask head. Nothing is timed before it agrees with the reference.
"""
