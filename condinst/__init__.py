"""CondInst: conditional convolutions for instance segmentation, with kernels of its own."""

__version__ = "0.1.0"

from . import ops
from .backends import use_backend
from .models import CondInst, CondInstConfig, config_names, load_config
from .models.checkpoints import CheckpointError, load, load_backbone, save_checkpoint

__all__ = [
    "CheckpointError",
    "CondInst",
    "CondInstConfig",
    "__version__",
    "config_names",
    "load",
    "load_backbone",
    "load_config",
    "ops",
    "save_checkpoint",
    "use_backend",
]
