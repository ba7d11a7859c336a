"""ImageNet weights for the backbone: torchvision's, detectron2's, Caffe's (numerics 1.2) and ucbdrive's of DLA-34."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..backbones.dla import UNUSED_KEYS as UNUSED_DLA_KEYS
from ..condinst import CondInst
from .errors import check_keys
from .files import read_state

# Caffe2 blobs, as in detectron2's MSRA/R-50.pkl
_CAFFE2_RENAMES = [
    (r"^conv1_w$", "conv1.weight"),
    (r"^res_conv1_bn_", "bn1."),
    (r"^res(\d)_(\d+)_branch1_w$", r"res\1.\2.downsample.0.weight"),
    (r"^res(\d)_(\d+)_branch1_bn_", r"res\1.\2.downsample.1."),
    (r"^res(\d)_(\d+)_branch2a_w$", r"res\1.\2.conv1.weight"),
    (r"^res(\d)_(\d+)_branch2b_w$", r"res\1.\2.conv2.weight"),
    (r"^res(\d)_(\d+)_branch2c_w$", r"res\1.\2.conv3.weight"),
    (r"^res(\d)_(\d+)_branch2a_bn_", r"res\1.\2.bn1."),
    (r"^res(\d)_(\d+)_branch2b_bn_", r"res\1.\2.bn2."),
    (r"^res(\d)_(\d+)_branch2c_bn_", r"res\1.\2.bn3."),
    (r"\.s$", ".weight"),
    (r"\.b$", ".bias"),
    (r"\.rm$", ".running_mean"),
    (r"\.riv$", ".running_var"),
]

# the names of detectron2
_DETECTRON2_RENAMES = [
    (r"^(backbone\.bottom_up\.|backbone\.)?(?=stem\.|res\d\.|base_layer\.|level\d\.)", ""),
    (r"^stem\.conv1\.norm\.", "bn1."),
    (r"^stem\.", ""),
    (r"^(res\d\.\d+)\.shortcut\.norm\.", r"\1.downsample.1."),
    (r"^(res\d\.\d+)\.shortcut\.", r"\1.downsample.0."),
    (r"^(res\d\.\d+)\.conv(\d)\.norm\.", r"\1.bn\2."),
    (r"^(res\d\.\d+)\.conv2_offset\.", r"\1.conv2.offset."),
]

_CLASSIFIER = re.compile(r"^(fc\.|fc1000_|pred_|linear\.|stem\.fc\.)")


def load_backbone(model: CondInst, source: str | Path) -> None:
    """Initialises the backbone of a model with ImageNet weights, in place.

    The weights must suit the config: Caffe and MSRA weights need `stride_in_1x1 = True`, BGR input and a std of 1;
    weights of torchvision need `stride_in_1x1 = False`, RGB input, and ImageNet's mean and std times 255. If a file has
    no running statistics (MSRA), all norms get mean 0 and a variance that makes their factor exactly their weight.
    Offsets of deformable convolutions, which ImageNet weights do not contain, do not change.
    The weights of DLA-34 are ucbdrive's `dla34-ba72cf86.pth`, trained on RGB input; AdelaiDet nevertheless uses them on
    BGR images, and trains the norms.

    Args:
        model: the model; its config defines the depth.
        source: "torchvision" (downloads, unless cached), or a file: detectron2's `.pkl` (Caffe2 or detectron2 names),
            or `.safetensors` / `.pth` with torchvision's, detectron2's or ucbdrive's names.

    Raises:
        CheckpointError: a file that cannot be read or does not fit; the message lists the keys.
        ValueError: torchvision's weights for a config with DLA-34, `stride_in_1x1` or BGR input.
        OSError: the download of torchvision's weights fails.
    """
    if source == "torchvision":
        config = model.config
        if config.backbone == "dla34":
            raise ValueError("source: torchvision has no weights of dla34; expected a file such as dla34-ba72cf86.pth")
        if config.stride_in_1x1 or config.pixel_order != "rgb":
            raise ValueError(
                "source: torchvision's weights need stride_in_1x1 = False and pixel_order = 'rgb', got"
                f" stride_in_1x1 = {config.stride_in_1x1} and pixel_order = {config.pixel_order!r}"
            )
        import torchvision  # Imported here, because most files of weights do not need it.

        weights = torchvision.models.get_model_weights(config.backbone)["IMAGENET1K_V1"]
        state = dict(weights.get_state_dict(progress=True, check_hash=True))
    else:
        state, _ = read_state(Path(source))
    load_backbone_state(model, state, str(source))


def load_backbone_state(model: CondInst, state: Mapping[str, Tensor], source: str) -> None:
    """The same as `load_backbone`, from tensors with the names of torchvision, detectron2, Caffe2 or ucbdrive."""
    expected = model.backbone.state_dict()
    named = {_rename(key): value for key, value in state.items() if not _CLASSIFIER.match(key)}
    weights = {key: value for key, value in named.items() if not UNUSED_DLA_KEYS.match(key)}
    # A file has statistics for all norms, or for none if they are folded into weight and bias. Otherwise a file is
    # incomplete.
    folded = not any("running_" in key for key in weights)
    plain = not any(".offset." in key for key in weights)
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):
            weights.setdefault(key, value)
        elif plain and ".offset." in key:
            weights[key] = value
        elif folded and key.endswith("running_mean"):
            weights[key] = value.new_zeros(value.shape)
        elif folded and key.endswith("running_var"):
            weights[key] = value.new_full(value.shape, 1.0 - 1e-5)
    # A frozen norm does not count batches, but files of trained norms have the counter.
    weights = {key: value for key, value in weights.items() if key in expected or "num_batches_tracked" not in key}
    check_keys(weights, expected, source)
    model.backbone.load_state_dict(weights)


def _rename(key: str) -> str:
    """The name of the model, which is torchvision's, for a backbone key of any of the four families."""
    for pattern, replacement in _CAFFE2_RENAMES + _DETECTRON2_RENAMES:
        key = re.sub(pattern, replacement, key)
    return re.sub(r"^res(\d)\.", lambda match: f"layer{int(match[1]) - 1}.", key)
