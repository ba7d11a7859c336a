"""Time and memory of the dynamic mask head, compared with other implementations and with the limits of the machine.

``condinst benchmark mask-head`` runs the study ``mask_head``. The programs in benchmarks/ of the repository measure
everything else with the same tools. A variant is timed only after a check that it agrees with the reference.
"""
