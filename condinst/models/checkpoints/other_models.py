"""Which other model a file holds that is no CondInst: by the names of its tensors, or by a class that it asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEYS: tuple[tuple[str, str], ...] = (
    (r"roi_heads\.mask_predictor\.", "Mask R-CNN of torchvision"),
    (r"roi_heads\.(box_predictor|box_head)\..*|rpn\.head\.", "Faster R-CNN of torchvision"),
    (r"head\.(classification|regression)_head\.", "RetinaNet, FCOS or SSD of torchvision"),
    (r"roi_heads\.mask_head\.", "Mask R-CNN of detectron2"),
    (r"proposal_generator\.rpn_head\.", "Faster R-CNN of detectron2"),
    (r"roi_head\.mask_head\.|roi_head\.0\.mask_head\.|roi_head\.mask_head\.\d", "Mask R-CNN of MMDetection"),
    (r"rpn_head\.", "Faster R-CNN of MMDetection"),
    (r"basis_module\.|blender\.", "BlendMask of AdelaiDet"),
    (r"proposal_generator\.fcos_head\.", "FCOS of AdelaiDet, a detector without masks,"),
    (r"(ins_head|cate_head|kernel_head)\.", "SOLO"),
    (r"mask_head\.(mask_feature_head|conv_kernel|conv_cls)", "SOLO of MMDetection"),
    (r"bbox_head\.rtm_", "RTMDet of MMDetection"),
    (r"bbox_head\.conv_centerness\.", "FCOS of MMDetection, a detector without masks,"),
    (r"bbox_head\.", "a detector of MMDetection that is no CondInst"),
    (r"prediction_layers\.|proto_net\.", "YOLACT"),
    (r"backbone\.(backbone|C3_p3|dark)|head\.(stems|cls_preds|reg_preds)\.", "YOLOX"),
    (r"(model\.)?model\.\d+\.(conv|cv\d|m|bn)\.", "YOLO of Ultralytics"),
    (r"sem_seg_head\.(pixel_decoder|predictor)\.", "MaskFormer or Mask2Former"),
    (r"image_encoder\.|mask_decoder\.", "Segment Anything (SAM)"),
    (r"(transformer\.(encoder|decoder)|class_embed|bbox_embed|query_embed)", "DETR, or another transformer,"),
    (r"(classifier|aux_classifier|decode_head)\.\d*\.?(conv|weight|\d)", "a network for semantic segmentation"),
    (r"unet|down_blocks\.|(inc|down1|up1)\.", "a U-Net"),
    (r"blocks\.\d+\.attn\.|encoder\.layers\.\d+\.|cls_token", "a vision transformer"),
    (
        r"(layer1\.0\.conv1|res2\.0\.conv1|res2_0_branch2a|level\d\.)",
        "a backbone or a classifier; `load_backbone` or --backbone reads it",
    ),
)  # fmt: skip
"""What names begin with, and whose they are; the first that fits decides."""

_LONGEST = 500  # characters of a name that are looked at

_CLASSES: tuple[tuple[str, str], ...] = (
    (
        "mmengine.",
        "; MMDetection's tools/model_converters/publish_model.py makes a file without such objects",
    ),
    ("ultralytics.", "; it is a YOLO of Ultralytics, not a CondInst"),
    ("models.yolo.", "; it is a YOLOv5, not a CondInst"),
    ("models.common.", "; it is a YOLOv5, not a CondInst"),
    ("condinst.", "; a whole model was saved: save it with condinst.save_checkpoint(model, FILE)"),
    ("__torch__.", "; it is a part of a TorchScript archive"),
    ("joblib.", "; it was written by joblib: write the dict of arrays with pickle.dump"),
    ("torchvision.models.", "; a whole model of torchvision was saved, not the state_dict of a CondInst"),
    ("detectron2.modeling.", "; a whole model was saved: save its state_dict() alone"),
    ("adet.modeling.", "; a whole model was saved: save its state_dict() alone"),
    ("mmdet.models.", "; a whole model was saved: save its state_dict() alone"),
    ("torch.nn.modules.", "; a whole model was saved: save its state_dict() alone"),
    ("torch.nn.parallel.", "; a whole model was saved: save its state_dict() alone"),
    ("__main__.", "; a whole object was saved: save the state_dict() of the model alone"),
)


def describe_keys(keys: Iterable[str]) -> str:
    """Whose tensors these are, as a clause of a message; an empty text where nothing is known.

    Args:
        keys: the names of all tensors of a file.
    """
    names = [key[:_LONGEST] for key in keys]
    for pattern, model in _KEYS:
        expression = re.compile(rf"(.*\.)?({pattern})")
        if any(expression.match(name) for name in names):
            return f"; these are the names of {model}".rstrip(",")
    return ""


def describe_class(name: str) -> str:
    """What helps with a file that asks for a class or function of this name, as a clause of a message."""
    return next((hint for beginning, hint in _CLASSES if name.startswith(beginning)), "")
