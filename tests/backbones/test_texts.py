"""Text encoders with their tokenizers."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPTextModel

from imagic.backbones.placement import Place
from imagic.backbones.texts import TextEncoder, seen_by_none, text_length
from imagic.backbones.words import report_text
from imagic.core.types import TextReport
from tests.backbones.tiny import build_clip, build_t5, build_t5_tokenizer
from tests.conftest import TEXT_LENGTH, build_tokenizer

CPU = Place(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    ("given", "limit", "length"), [(77, None, TEXT_LENGTH), (int(1e30), None, TEXT_LENGTH), (5, None, 5), (77, 3, 3)]
)
def test_the_length_is_the_least_of_all_limits(given: int, limit: int | None, length: int) -> None:
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = given
    assert text_length(build_clip(CLIPTextModel, 16), tokenizer, limit) == length


def test_t5_has_no_positions_of_its_own() -> None:
    assert text_length(build_t5(16), build_t5_tokenizer(512), 256) == 256
    assert text_length(build_t5(16), build_t5_tokenizer(100), 256) == 100


def test_padding_is_hidden_only_where_the_config_says_so() -> None:
    clip, tokenizer = build_clip(CLIPTextModel, 16), build_tokenizer()
    encoder = TextEncoder(clip, tokenizer, CPU)
    tokens = tokenizer(["a dog"], padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt")
    with torch.no_grad():
        seen = clip(tokens.input_ids)[0]
        hidden = clip(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
    assert not torch.allclose(seen, hidden)
    assert torch.equal(encoder(["a dog"])[0], seen)
    clip.config.use_attention_mask = True
    assert torch.equal(encoder(["a dog"])[0], hidden)


def test_t5_names_the_words_with_characters_that_it_does_not_know() -> None:
    report = report_text(build_t5_tokenizer(), "a photo of a 犬 on the grass, 犬!", 20)
    assert report.unknown_words == ("犬", "grass,", "犬!")
    assert report_text(build_t5_tokenizer(), "a zebra on the grass", 20) == TextReport()


def test_a_text_is_lost_only_where_no_encoder_sees_it() -> None:
    reports = [TextReport(("x", "y"), "of a dog"), TextReport(("y", "z"), "dog")]
    assert seen_by_none(reports) == TextReport(("y",), "dog")
    assert seen_by_none([*reports, TextReport()]) == TextReport()
