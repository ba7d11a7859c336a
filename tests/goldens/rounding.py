"""The same network with other rounding errors, as other devices have them, and the decisions that these tip over.

The classes are modes: ``with Reordered(seed): loss = ...`` runs PyTorch's functions in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

RELUS = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


class ReluSides(TorchFunctionMode):
    """Records which values the ReLUs let through, or lets through those of another run.

    Args:
        imposed: `sides` of a run on the same inputs. By default each ReLU decides for itself.
        mask_heads: also the ReLUs inside the mask heads, which only the reference shows; kernels have them inside.
    """

    def __init__(self, imposed: Sequence[Tensor] = (), *, mask_heads: bool = False) -> None:
        super().__init__()
        self.mask_heads = mask_heads
        self.sides: list[Tensor] = []
        """[B, C, H, W] bool of each ReLU of the network and [K, C, H * W] of each of the mask heads, in the order in
        which they ran: the values above 0."""
        self.imposed = [sides for sides in imposed if mask_heads or sides.dim() == 4]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for each function of PyTorch."""
        if func not in RELUS or (args[0].dim() == 3 and not self.mask_heads):
            return func(*args, **kwargs or {})
        x = args[0]
        self.sides.append((x.detach() > 0).cpu())
        if not self.imposed:
            return func(*args, **kwargs or {})
        return x.where(self.imposed[len(self.sides) - 1].to(x.device), 0.0)

    def count_others(self) -> int:
        """How many values were not on the imposed side."""
        return sum(int((own != other).sum()) for own, other in zip(self.sides, self.imposed, strict=True))


class Reordered(TorchFunctionMode):
    """Takes the sums of convolutions and norms in another order; without rounding the results would be the same.

    Convolutions get their channels shuffled, maps turned by 180 degrees (where the stride is 1) and images in reverse;
    norms get turned maps. So sums over channels, over cells and over images all change their order, in gradients, too.

    Args:
        seed: of the shuffled channels.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for each function of PyTorch."""
        if func is torch.conv2d:
            return self._conv2d(*args)
        if func in (F.batch_norm, F.group_norm):
            return func(args[0].flip(2, 3), *args[1:], **kwargs or {}).flip(2, 3)
        return func(*args, **kwargs or {})

    def _conv2d(self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, *options: Any) -> Tensor:
        inputs = torch.randperm(x.shape[1], generator=self.generator)
        outputs = torch.randperm(len(weight), generator=self.generator)
        axes = (2, 3) if tuple(stride) == (1, 1) else ()
        x = x.index_select(1, inputs).flip(0, *axes)
        weight = weight.index_select(0, outputs).index_select(1, inputs).flip(axes)
        bias = None if bias is None else bias.index_select(0, outputs)
        y = torch.conv2d(x, weight, bias, stride, *options)
        return y.flip(0, *axes).index_select(1, outputs.argsort())


class Winograd(TorchFunctionMode):
    """Computes 3x3 convolutions of stride 1 as F(4x4, 3x3) of Lavin and Gray (2016), as GPU libraries may.

    It rounds about 40 times as coarsely as a direct convolution.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for each function of PyTorch."""
        if func is torch.conv2d and args[1].shape[2:] == (3, 3) and tuple(args[3]) == (1, 1):
            return _winograd(*args[:3])
        return func(*args, **kwargs or {})


# Winograd's matrices
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))  # in 24ths
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3x3 convolution [N, C, H, W] to [N, O, H, W], stride and padding 1, in tiles of 4x4 from 6x6."""
    into, kernel, out = (x.new_tensor(matrix) for matrix in (_INPUT, _KERNEL, _OUTPUT))
    kernel = kernel / 24
    height, width = x.shape[2:]
    x = F.pad(x, (1, 1 + -width % 4, 1, 1 + -height % 4))
    tiles = x.unfold(2, 6, 4).unfold(3, 6, 4)  # [N, C, h, w, 6, 6]
    tiles = torch.einsum("ia,nchwab,jb->ijnchw", into, tiles, into)
    kernels = torch.einsum("ia,ocab,jb->ijoc", kernel, weight, kernel)
    products = torch.einsum("ijoc,ijnchw->ijnohw", kernels, tiles)
    y = torch.einsum("ui,ijnohw,vj->nohuwv", out, products, out)  # [N, O, h, 4, w, 4]
    y = y.flatten(4, 5).flatten(2, 3)[:, :, :height, :width]
    return y if bias is None else y + bias[:, None, None]
