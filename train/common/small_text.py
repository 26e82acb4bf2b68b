"""A word-level tokenizer made from captions, for the text side of the small models."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from gendeg_core.types import Degradation

START, END, UNKNOWN = "<start>", "<end>", "<unknown>"


def caption_tokenizer(captions: Iterable[str], length: int = 77, rarest: int = 2) -> PreTrainedTokenizerFast:
    """Lower-cased words and punctuation that occur `rarest` times or more; others become <unknown>.

    The words of the six degradation phrases are always in it. Padded with <end>, like CLIP.
    """
    normalizer, splitter = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    counts: dict[str, int] = {}
    for caption in captions:
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(caption)):
            counts[word] = counts.get(word, 0) + 1
    phrases = [word for d in Degradation for word, _ in splitter.pre_tokenize_str(d.phrase)]
    kept = {word for word, count in counts.items() if count >= rarest} | set(phrases) | {","}
    words = [START, END, UNKNOWN, *sorted(kept)]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 0), (END, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        model_max_length=length,
    )


def small_text_encoder(tokenizer: PreTrainedTokenizerFast, width: int, layers: int) -> CLIPTextModel:
    """A CLIP text model of a few hundred thousand parameters, to be trained with the denoiser."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=max(width // 16, 1),
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=width,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
