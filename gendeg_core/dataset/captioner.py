"""An image-to-text model of transformers (BLIP-2, BLIP, GIT, ...) as a function from photos to captions."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from gendeg_core.device import pick_device

LONGEST = 40  # tokens of a caption


class Captioner:
    """Describes photos with the model called `name`, greedily, so that a photo always gets the same caption.

    Args:
        name: folder or Hub name.
        device: for example cpu or cuda:0; None takes what there is.

    Raises:
        OSError: transformers cannot open it as an image-to-text model.
    """

    def __init__(self, name: str, device: str | None = None) -> None:
        self.device = torch.device(device) if device else pick_device()
        dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        try:
            # transformers types its automatic classes too loosely to check calls on them.
            model: Any = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype)
            self.model = model.to(self.device).eval()
            processor = AutoProcessor.from_pretrained(name)
            # A plain encoder-decoder has no processor for both sides; transformers then gives its tokenizer.
            self.images: Any = processor if hasattr(processor, "image_processor") else None
            if self.images is None:
                self.images = AutoImageProcessor.from_pretrained(name)
            self.tokenizer: Any = getattr(processor, "tokenizer", None) or AutoTokenizer.from_pretrained(name)
        except Exception as error:  # whatever transformers raises, the model is what is wrong
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise OSError(
                f"transformers cannot open {name!r} as an image-to-text model ({reason}); give a folder or a "
                "Hub name of one, such as Salesforce/blip2-opt-2.7b, or a captions file instead"
            ) from error
        self.dtype = dtype

    @torch.inference_mode()
    def __call__(self, images: list[Image.Image]) -> list[str]:
        """One caption per RGB image, on one line each."""
        inputs = self.images(images=images, return_tensors="pt")
        pixels = inputs["pixel_values"].to(self.device, self.dtype)
        tokens = self.model.generate(pixel_values=pixels, max_new_tokens=LONGEST, do_sample=False)
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]
