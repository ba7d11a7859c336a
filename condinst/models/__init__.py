"""The model and its configuration."""

from .condinst import CondInst
from .config import CondInstConfig
from .config_files import config_names, load_config

__all__ = ["CondInst", "CondInstConfig", "config_names", "load_config"]
