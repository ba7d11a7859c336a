"""Loads and saves models: safetensors files, checkpoints of AdelaiDet and MMDetection, and ImageNet backbones."""

from .backbone import load_backbone
from .checkpoint import read_config
from .errors import CheckpointError
from .model import fine_tune, load, new_model, save_checkpoint

__all__ = [
    "CheckpointError",
    "fine_tune",
    "load",
    "load_backbone",
    "new_model",
    "read_config",
    "save_checkpoint",
]
