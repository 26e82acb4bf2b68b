"""Captions and phrases as the text encoder takes them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor


class PromptEncoder:
    """Prompts to token ids (B, 77), or, for a frozen text encoder, to embeddings (B, 77, D), kept for reuse.

    Args:
        trained: whether the text encoder learns; then only token ids can be given.
        limit: embeddings kept, the most recently used; at Stable Diffusion's size one takes 0.24 MB.
    """

    def __init__(self, tokenizer: Any, text_encoder: Any, *, trained: bool, limit: int = 2048) -> None:
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.trained, self.limit = trained, limit
        self.cache: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, prompts: list[str], device: torch.device) -> Tensor:
        if self.trained:
            return self._tokens(prompts).to(device)
        embedded = torch.stack([self._embedding(prompt, device) for prompt in prompts])
        while len(self.cache) > self.limit:
            self.cache.popitem(last=False)
        return embedded.to(device)

    def _embedding(self, prompt: str, device: torch.device) -> Tensor:
        if prompt not in self.cache:
            # One by one: in a batch, the last digits would depend on which others happened to be missing, and
            # a resumed run, whose cache starts empty, would not repeat its losses.
            with torch.no_grad():
                self.cache[prompt] = self.text_encoder(self._tokens([prompt]).to(device))[0][0].cpu()
        self.cache.move_to_end(prompt)
        return self.cache[prompt]

    def _tokens(self, prompts: list[str]) -> Tensor:
        return self.tokenizer(
            prompts, padding="max_length", truncation=True, return_tensors="pt", max_length=77
        ).input_ids
