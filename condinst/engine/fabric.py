"""Lightning Fabric set up for one process, or for those that torchrun has started."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision


def make_fabric(device: torch.device, precision: str) -> Fabric:
    """A Fabric that trains on one device, or in all processes of torchrun with DDP.

    Args:
        device: where to train; under torchrun only its type counts.
        precision: "32-true", "bf16-mixed" or "16-mixed".
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    nodes = int(os.environ.get("WORLD_SIZE", 1)) // processes
    is_distributed = processes * nodes > 1
    single_device = [device.index or 0] if device.type == "cuda" else 1
    is_mixed = precision != "32-true"
    return Fabric(
        accelerator=device.type,
        devices=processes if is_distributed else single_device,
        num_nodes=nodes,
        strategy="ddp" if is_distributed else "auto",
        precision=None if is_mixed else "32-true",
        plugins=_MixedPrecision(precision, device.type) if is_mixed else None,  # type: ignore[arg-type]
    )


class _MixedPrecision(MixedPrecision):
    """Fabric's autocast and scaling of gradients, with inputs as they are: boxes need all their bits."""

    def convert_input(self, data: Any) -> Any:
        return data
