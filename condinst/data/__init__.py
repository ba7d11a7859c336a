"""Reading images and annotations, and changing them for training."""
