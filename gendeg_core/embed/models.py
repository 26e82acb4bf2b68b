"""DA-CLIP models by name or by sizes, and the tokenizer that belongs to one.

Our names are registered with open_clip, so that its own functions know them too.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, cast

import open_clip
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.tokenizer import SimpleTokenizer

from gendeg_core.embed.daclip import DaCLIP
from gendeg_core.embed.texture import TextureStem

CONFIGS = Path(__file__).parent / "configs"
BYTES, SPECIAL = 512, 2  # tokens of single bytes, inside and at the end of a word; start and end of text


@functools.cache
def register_configs() -> None:
    """Make open_clip know daclip_ViT-B-32, daclip_ViT-L-14 and our small models.

    The originals ask for `custom_text`, but their factory ignored it: their keys are those of the plain CLIP.
    """
    open_clip.add_model_config(CONFIGS)


def model_config(name: str) -> dict[str, Any]:
    """Sizes of an open_clip model: embed_dim, vision_cfg, text_cfg.

    Raises:
        ValueError: open_clip does not know the name.
    """
    register_configs()
    config = open_clip.get_model_config(name)
    if config is None:
        ours = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.json")))
        raise ValueError(f"open_clip knows no model {name!r}; choose one of its own, or {ours}")
    return config


def build(config: dict[str, Any], *, frozen: bool = True) -> DaCLIP:
    """A DA-CLIP of these sizes with random weights.

    Beside open_clip's own sizes there may be a `stem`: texture, as our small model has.

    Raises:
        ValueError: the stem is another one.
    """
    sizes = {key: value for key, value in config.items() if key != "stem"}
    clip = open_clip.CLIP(**sizes)
    vision, tower = config["vision_cfg"], cast(Any, clip.visual)
    if config.get("stem") == "texture":
        tower.conv1 = TextureStem(
            vision["width"], vision["patch_size"], OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
        )
    elif "stem" in config:
        raise ValueError(f"unknown stem {config['stem']!r}; leave it out or choose texture")
    return DaCLIP(clip, frozen=frozen)


def build_tokenizer(config: dict[str, Any]) -> SimpleTokenizer:
    """CLIP's tokenizer: texts to token ids (B, context length).

    A smaller vocabulary keeps the most frequent merges of byte pairs, so that every text can still be
    written, rarer words in more pieces; start and end stay the two highest ids, as the pooling expects.

    Raises:
        ValueError: the vocabulary is too small for the single bytes, or larger than CLIP's.
    """
    size, length = config["text_cfg"]["vocab_size"], config["text_cfg"]["context_length"]
    tokenizer = SimpleTokenizer(context_length=length)
    if not BYTES + SPECIAL <= size <= tokenizer.vocab_size:
        raise ValueError(
            f"vocab_size={size} is outside {BYTES + SPECIAL} to {tokenizer.vocab_size}; choose one inside"
        )
    merges = size - BYTES - SPECIAL
    tokenizer.bpe_ranks = {pair: rank for pair, rank in tokenizer.bpe_ranks.items() if rank < merges}
    tokenizer.sot_token_id, tokenizer.eot_token_id = size - 2, size - 1
    tokenizer.all_special_ids = [size - 2, size - 1]
    for number, text in enumerate(("<start_of_text>", "<end_of_text>")):
        tokenizer.encoder[text] = size - 2 + number
    tokenizer.vocab_size = size
    return tokenizer
