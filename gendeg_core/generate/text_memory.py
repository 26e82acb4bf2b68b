"""Text embeddings kept while many pictures are made: each prompt, and the empty one, is encoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class TextMemory:
    """The embeddings of the last `capacity` prompts of one text encoder.

    A prompt is always encoded alone, so that its embedding never depends on what else is remembered. Only for
    inference: whoever changes the encoder has to start with a new memory.
    """

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self.kept: OrderedDict[str, Tensor] = OrderedDict()

    def recall(self, prompts: Sequence[str], encode: Callable[[Sequence[str]], Tensor]) -> Tensor:
        """Embeddings (B, 77, D) of `prompts`; `encode` makes those that are not remembered."""
        found = [self._one(text, encode) for text in prompts]
        while len(self.kept) > self.capacity:
            self.kept.popitem(last=False)
        return torch.cat(found)

    def _one(self, text: str, encode: Callable[[Sequence[str]], Tensor]) -> Tensor:
        if text not in self.kept:
            self.kept[text] = encode([text]).detach()
        self.kept.move_to_end(text)
        return self.kept[text]
