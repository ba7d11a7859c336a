"""The network that `dynamic_mask_head` and `dynamic_mask_loss` run for each instance, in Triton."""
