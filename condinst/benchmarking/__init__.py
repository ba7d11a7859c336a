"""Time and memory of the dynamic mask head, beside what others do and beside what the machine can do at best.

``condinst benchmark mask-head`` runs the study ``mask_head``. The programs in benchmarks/ of the repository measure
everything else with the same tools. Nothing is timed before it agrees with the reference.
"""
