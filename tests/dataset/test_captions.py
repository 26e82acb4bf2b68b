"""Captions: reading, prompts, and writing them with any image-to-text model, also after a kill."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendeg_core.dataset.captions import (
    CaptionProgress,
    caption_folder,
    caption_rows,
    own_degradations,
    read_captions,
    unsuitable_photos,
    without_phrase,
    write_captions,
)
from gendeg_core.types import Degradation, prompt


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven photos; b/copy.png has the content of a0.png."""
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"a{number}.png")
    (folder / "b" / "copy.png").write_bytes((folder / "a0.png").read_bytes())
    return folder


class Recorder:
    """Describes a photo by its mean; remembers how many it saw; fails after `limit` of them."""

    def __init__(self, limit: int = 1000) -> None:
        self.sizes: list[int] = []
        self.limit = limit

    def __call__(self, images: list[Image.Image]) -> list[str]:
        if sum(self.sizes) + len(images) > self.limit:
            raise KeyboardInterrupt
        self.sizes.append(len(images))
        return [f'a "{np.asarray(image).mean():.3f}", grey' for image in images]


def finish(*args: object, **options: object) -> list[CaptionProgress]:
    return list(write_captions(*args, **options))  # type: ignore[arg-type]


# ------------------------------------------------------------------ prompts


@pytest.mark.parametrize(
    ("degradation", "dataset", "ending"),
    [
        ("haze", "RESIDE", "in hazy conditions"),
        ("rain", "Rain13K", "in rainy conditions"),
        ("snow", "Snow100k", "in snowy conditions"),
        ("motion_blur", "REDS", "in blurry conditions"),
        ("low_light", "SID", "in low-light conditions"),
        ("raindrop", "RainDS", "with raindrops in it"),
        ("snow", "CSD", "in snowy and hazy conditions"),
        ("rain", "ORD", "in rainy and hazy conditions"),
    ],
)
def test_the_prompt_is_the_published_one(degradation: str, dataset: str, ending: str) -> None:
    kind = Degradation.parse(degradation)
    assert prompt("a windmill on a paved path", kind, dataset) == f"a windmill on a paved path, {ending}"
    assert prompt("", kind, dataset) == ending


def test_a_phrase_already_there_goes_and_a_comma_in_a_caption_stays() -> None:
    assert without_phrase("a dog, a cat, in snowy and hazy conditions") == "a dog, a cat"
    assert without_phrase(" a street sign on a pole, with raindrops in it.") == "a street sign on a pole"
    assert without_phrase("a dog, a cat") == "a dog, a cat"
    assert without_phrase("a man in hazy conditions") == "a man in hazy conditions"


# ------------------------------------------------------------------ reading


def test_captions_are_found_by_any_trailing_part_of_the_path(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text(
        "file,caption,suitable,reason\n"
        'photos/x/1.jpg,"a dog, a cat",1,\nphotos/y/1.jpg,a tree,1,\nphotos/y/2.jpg,a map,0,drawing\n'
    )
    captions = read_captions(path)
    assert captions["photos/x/1.jpg"] == captions["x/1.jpg"] == "a dog, a cat"
    assert captions["2.jpg"] == "a map"
    assert "1.jpg" not in captions  # two photos have that name and differ
    assert unsuitable_photos(path) == {"photos/y/2.jpg", "y/2.jpg", "2.jpg"}


def test_what_a_photo_shows_already_is_read(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text('file,caption,degradation\nx/1.jpg,a,"Rain, haze"\nx/2.jpg,b,\nx/3.jpg,c,Low-light\n')
    own = own_degradations(path)
    assert own["1.jpg"] == own["x/1.jpg"] == ["rain", "haze"]
    assert own["3.jpg"] == ["low_light"]
    assert "2.jpg" not in own
    path.write_text("file,caption,degradation\n1.jpg,a,sepia\n")
    with pytest.raises(ValueError, match="1.jpg shows 'sepia'"):
        own_degradations(path)


def test_an_unusable_caption_file_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no caption file"):
        read_captions(tmp_path / "none.csv")
    path = tmp_path / "captions.csv"
    path.write_text("name,caption\n1.jpg,a map\n")
    with pytest.raises(ValueError, match="has no column file"):
        read_captions(path)
    path.write_bytes(b"file,caption\n1.jpg,caf\xe9\n")
    with pytest.raises(ValueError, match="UTF-8"):
        read_captions(path)


# ------------------------------------------------------------------ writing


def test_every_photo_is_described_once_in_batches(photos: Path, tmp_path: Path) -> None:
    output, describe = tmp_path / "captions.csv", Recorder()
    progress = finish(photos, output, "model", describe, batch=4)
    assert describe.sizes == [4, 2]  # the copy is not described again
    assert (progress[-1].done, progress[-1].total) == (7, 7)
    captions = read_captions(output)
    mean = np.asarray(Image.open(photos / "a3.png")).mean()
    assert captions["a3.png"] == f'a "{mean:.3f}", grey'
    assert captions["b/copy.png"] == captions["a0.png"]


def test_a_killed_run_continues_and_ends_as_if_it_had_not_been_killed(photos: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.csv", tmp_path / "captions.csv"
    finish(photos, whole, "model", Recorder(), batch=2)
    with pytest.raises(KeyboardInterrupt):
        finish(photos, output, "model", Recorder(limit=4), batch=2)
    output.write_bytes(output.read_bytes()[:-9])  # the last line was cut short
    describe = Recorder()
    finish(photos, output, "model", describe, batch=2)
    assert sum(describe.sizes) == 3  # two that had not been reached, one whose line was cut
    assert output.read_bytes() == whole.read_bytes()


def test_a_finished_file_needs_no_model_and_keeps_corrections(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "captions.csv"
    finish(photos, output, "model", Recorder())
    text = output.read_text().splitlines()
    text[1] = text[1].split(",")[0] + ",a red barn,0,scan," + ",".join(text[1].split(",")[-2:])
    output.write_text("\n".join(text) + "\n")
    (photos / "a0.png").rename(photos / "renamed.png")
    describe = Recorder(limit=0)
    finish(photos, output, "model", describe)
    assert describe.sizes == []
    captions = read_captions(output)
    assert "a0.png" not in captions
    assert "renamed.png" in captions


def test_captions_by_another_model_stay(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "captions.csv"
    finish(photos, output, "model", Recorder())
    before = output.read_bytes()
    with pytest.raises(ValueError, match="captions by the model model, not another"):
        finish(photos, output, "another", Recorder())
    with pytest.raises(ValueError, match="captions by the model model"):
        list(caption_folder(photos, output))  # BLIP-2 by default
    assert output.read_bytes() == before


def test_a_photo_that_cannot_be_read_is_passed_over_and_named(photos: Path, tmp_path: Path) -> None:
    broken, output = photos / "a1.png", tmp_path / "captions.csv"
    content = broken.read_bytes()
    broken.write_bytes(content[:80])
    last = finish(photos, output, "model", Recorder(), batch=4)[-1]
    assert (last.done, last.total, list(last.unreadable)) == (7, 7, ["a1.png"])
    assert "a1.png cannot be read" in last.unreadable["a1.png"]
    assert set(caption_rows(output)) == {"a0.png", *(f"a{n}.png" for n in range(2, 6)), "b/copy.png"}
    broken.write_bytes(content)
    describe = Recorder()
    assert not finish(photos, output, "model", describe)[-1].unreadable
    assert describe.sizes == [1]


def test_a_caption_file_from_elsewhere_is_never_overwritten(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "captions.csv"
    output.write_text("file,caption\na0.png,mine\n")
    with pytest.raises(ValueError, match="was not written by this command"):
        finish(photos, output, "model", Recorder())
    assert output.read_text() == "file,caption\na0.png,mine\n"
    with pytest.raises(ValueError, match="not a folder"):
        finish(tmp_path / "empty", tmp_path / "new.csv", "model", Recorder())
    with pytest.raises(ValueError, match="batch=0"):
        finish(photos, tmp_path / "new.csv", "model", Recorder(), batch=0)


# ------------------------------------------------------------------ models of transformers


def words_tokenizer() -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<image>", *(f"word{n}" for n in range(21))]
    model = models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", bos_token="</s>", unk_token="<pad>"
    )


def save_tiny_blip2(folder: Path) -> None:
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        BlipImageProcessor,
        OPTConfig,
    )

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = OPTConfig(
        vocab_size=24, hidden_size=16, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2,
        word_embed_proj_dim=16, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    config = Blip2Config(
        vision_config=Blip2VisionConfig(image_size=16, patch_size=8, **size).to_dict(),
        qformer_config=Blip2QFormerConfig(vocab_size=24, encoder_hidden_size=16, **size).to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=2,
    )
    torch.manual_seed(0)
    model = Blip2ForConditionalGeneration(config)
    with torch.no_grad():  # special tokens never score highest
        model.language_model.get_output_embeddings().weight[:3] = 0
    model.save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 16, "width": 16})
    Blip2Processor(images, words_tokenizer(), num_query_tokens=4).save_pretrained(folder)


def save_tiny_encoder_decoder(folder: Path) -> None:
    import torch
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
        ViTModel,
    )

    torch.manual_seed(0)
    encoder = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16,
        patch_size=8,
    )  # fmt: skip
    decoder = GPT2Config(
        vocab_size=24, n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=1,
        add_cross_attention=True, is_decoder=True,
    )  # fmt: skip
    model = VisionEncoderDecoderModel(encoder=ViTModel(encoder), decoder=GPT2LMHeadModel(decoder))
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id, config.pad_token_id = 1, 0
    model.generation_config.suppress_tokens = [0, 1, 2]
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    words_tokenizer().save_pretrained(folder)  # type: ignore[attr-defined]


@pytest.mark.parametrize("save", [save_tiny_blip2, save_tiny_encoder_decoder])
def test_any_image_to_text_model_describes_the_photos(save, photos: Path, tmp_path: Path) -> None:
    save(tmp_path / "model")
    one, four = tmp_path / "one.csv", tmp_path / "four.csv"
    for output, batch in ((one, 1), (four, 4)):
        list(caption_folder(photos, output, str(tmp_path / "model"), batch, "cpu"))
    with one.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["file"] for r in rows] == [*(f"a{n}.png" for n in range(6)), "b/copy.png"]
    assert all(r["caption"] for r in rows)
    assert one.read_bytes() == four.read_bytes()


def test_a_model_that_cannot_be_opened_is_named(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="as an image-to-text model"):
        list(caption_folder(photos, tmp_path / "captions.csv", str(tmp_path / "empty"), 4, "cpu"))
