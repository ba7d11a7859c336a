"""The compile-time constants of the Triton kernels of `dynamic_mask_head` and `dynamic_mask_loss`."""

from dataclasses import dataclass

COORDINATES = ("none", "relative", "absolute")


@dataclass(frozen=True)
class Specialization:
    """The constants of a kernel, as one argument of type ``tl.constexpr``.

    Attributes:
        num_layers: 1 or more.
        channels: width of the hidden layers, at most 16.
        num_features: channels of the features that the network takes, 0 to 16.
        coordinates: position in `COORDINATES`.
        factor: factor of the upsampling: 1, 2 or 4.
        rows, columns: cells of a tile, powers of two; see tiles_triton.py.
        precision: how ``tl.dot`` multiplies float32: "ieee" (plain float32), "tf32x3" or "tf32" (tensor cores).
    """

    num_layers: int
    channels: int
    num_features: int
    coordinates: int
    factor: int
    rows: int
    columns: int
    precision: str

    @property
    def first_feature(self) -> int:
        """The first channel of the features in the input of the network, after the coordinates."""
        return 0 if self.coordinates == 0 else 2

    @property
    def in_channels(self) -> int:
        """Input channels of the first layer."""
        return self.first_feature + self.num_features

    @property
    def in_padded(self) -> int:
        """Input channels of the first layer, padded for ``tl.dot``."""
        return 16 if self.in_channels <= 16 else 32

    @property
    def num_params(self) -> int:
        """The number of weights and biases of an instance."""
        if self.num_layers == 1:
            return self.in_channels + 1
        hidden = self.channels * (self.in_channels + 1) + (self.num_layers - 2) * self.channels * (self.channels + 1)
        return hidden + self.channels + 1

    @property
    def halo(self) -> int:
        """The width of the border around the cells of a tile, which upsampling and its transpose need."""
        return 0 if self.factor == 1 else 1
