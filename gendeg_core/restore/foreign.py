"""Restoration networks of other architectures, opened by spandrel (an optional package)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor


class Foreign(nn.Module):
    """A network as spandrel wraps it, with the contract of our own."""

    def __init__(self, descriptor: ImageModelDescriptor) -> None:
        super().__init__()
        self.net = descriptor.model
        self.descriptor = descriptor

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to the same; spandrel pads to the sizes the network can take."""
        return self.descriptor(image)


def load_foreign(state: dict[str, Tensor], path: Path) -> tuple[Foreign, str]:
    """The network these weights belong to, on the CPU, and the name of its architecture.

    Raises:
        ValueError: spandrel is not installed, does not know the weights, or the network does something else
            than restore colour images at their size.
    """
    try:
        import spandrel
    except ImportError as error:
        raise ValueError(
            f"{path} holds neither NAFNet nor PromptIR; other networks need the optional package spandrel: "
            'pip install "gendeg-studio[spandrel]"'
        ) from error
    try:
        # The tensors were read without running code, so spandrel never sees the file.
        descriptor = spandrel.ModelLoader(device="cpu").load_from_state_dict(
            spandrel.canonicalize_state_dict(state)
        )
    except spandrel.UnsupportedModelError as error:
        raise ValueError(
            f"{path} holds no network that is known here or to spandrel; give a published checkpoint, or a "
            "folder with its config.json"
        ) from error
    except (KeyError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"{path} looks like a network that spandrel knows, but does not fit: {error}"
        ) from error
    name = descriptor.architecture.name
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise ValueError(f"{path} holds {name}, which needs more than one image; give a restorer")
    shape = (descriptor.scale, descriptor.input_channels, descriptor.output_channels)
    if shape != (1, 3, 3):
        raise ValueError(
            f"{path} holds {name} with scale {shape[0]} from {shape[1]} to {shape[2]} channels; "
            "give one that restores colour images at their own size"
        )
    return Foreign(descriptor.eval()), name
