"""Layers that more than one part of the network uses."""

import torch
from torch import Tensor, nn


class DeformableConv(nn.Conv2d):
    """Modulated deformable 3x3 convolution (Zhu et al., 2019) with a separate offset predictor.

    At initialisation it samples the same positions as a plain convolution, with half the weight: `sigmoid(0)`.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        stride: 1 or 2.
        bias: whether the convolution has a bias; the offset predictor always has one.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=bias)
        from torchvision.ops import deform_conv2d  # here, because few models need torchvision, which is slow to import

        self._deform_conv2d = deform_conv2d
        # 9 pairs of (dy, dx), then 9 modulation logits
        self.offset = nn.Conv2d(in_channels, 27, kernel_size=3, stride=stride, padding=1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, ceil(H / stride), ceil(W / stride)]."""
        # torchvision has no bfloat16 kernels.
        dtype = torch.promote_types(x.dtype, torch.float32)
        offsets, modulation = self.offset(x).to(dtype).split((18, 9), dim=1)
        return self._deform_conv2d(
            x.to(dtype),
            offsets,
            self.weight.to(dtype),
            None if self.bias is None else self.bias.to(dtype),
            stride=self.stride,
            padding=1,
            mask=modulation.sigmoid(),
        ).to(x.dtype)
