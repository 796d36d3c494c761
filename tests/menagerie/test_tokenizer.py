from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from imagic.backbones.words import report_text
from imagic.menagerie.captions import caption, vocabulary
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.tokenizer import END, START, TEXT_LENGTH, build_tokenizer, byte_letters
from tests.conftest import MakePipeline


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return build_tokenizer()


def test_every_word_of_the_captions_is_one_token(tokenizer: CLIPTokenizer) -> None:
    for word in vocabulary():
        assert tokenizer.tokenize(word) == [word + "</w>"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=12))
def test_any_words_become_one_token_each(words: list[str]) -> None:
    tokenizer = build_tokenizer(words)
    assert [tokenizer.tokenize(word) for word in words] == [[word + "</w>"] for word in words]


def test_only_words_and_letters_end_a_word(tokenizer: CLIPTokenizer) -> None:
    """So that a word is one token only if it is known."""
    ends = {token.removesuffix("</w>") for token in tokenizer.get_vocab() if token.endswith("</w>")}
    assert ends == set(vocabulary()) | set(byte_letters())


def test_captions_fit_with_one_token_per_word(tokenizer: CLIPTokenizer) -> None:
    rng = np.random.default_rng(0)
    for seed in range(100):
        text = caption(sample_scene(seed), rng)
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)
        words = text.replace(",", " ,").split()
        assert tokens == [START, *(word + "</w>" for word in words), END]
        assert len(tokens) <= TEXT_LENGTH


def test_letters_of_bytes_are_those_of_gpt2() -> None:
    letters = byte_letters()
    assert len(set(letters)) == 256
    assert sorted(letters) == sorted(ByteLevel.alphabet())


@pytest.mark.parametrize(
    "text", ["zebra", "ein süßer hund", "naïve café", "一只坐着的狗", "🐶🦓", "собака", "x", "z1 27%"]
)
def test_unknown_words_are_spelt_and_come_back(tokenizer: CLIPTokenizer, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in ids[1:-1]
    spaceless = tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "")
    assert spaceless == text.replace(" ", "")


def test_case_and_spaces_do_not_matter(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer("A  Photo of\na DOG").input_ids == tokenizer("a photo of a dog").input_ids


def test_unknown_words_are_reported(tokenizer: CLIPTokenizer) -> None:
    report = report_text(tokenizer, "a Zebra sitting, and a standin dog", TEXT_LENGTH)
    assert report.unknown_words == ("zebra", "standin")
    assert report.cut == ""


def test_ids_depend_on_the_set_of_words_alone() -> None:
    words = list(vocabulary())
    shuffled = [*words, *words[:9]]
    random.Random(0).shuffle(shuffled)
    assert build_tokenizer(shuffled).get_vocab() == build_tokenizer(words).get_vocab()


def test_ids_are_without_gaps_and_end_in_the_marks(tokenizer: CLIPTokenizer) -> None:
    vocab = tokenizer.get_vocab()
    assert sorted(vocab.values()) == list(range(len(tokenizer)))
    assert (vocab[START], vocab[END]) == (len(tokenizer) - 2, len(tokenizer) - 1)


def test_padding_and_cutting_are_those_of_stable_diffusion(tokenizer: CLIPTokenizer) -> None:
    """CLIP-L's tokenizer for Stable Diffusion pads with its end mark, and cuts before it."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (START, END, END)
    short, long = tokenizer(
        ["a dog", "dog " * 50], padding="max_length", max_length=tokenizer.model_max_length, truncation=True
    ).input_ids
    a, dog = tokenizer.convert_tokens_to_ids(["a</w>", "dog</w>"])
    assert short == [bos, a, dog] + [eos] * (TEXT_LENGTH - 3)
    assert long == [bos] + [dog] * (TEXT_LENGTH - 2) + [eos]
    assert tokenizer("", padding="max_length").input_ids == [bos] + [eos] * (TEXT_LENGTH - 1)


def test_round_trip_through_a_pipeline_folder(
    tokenizer: CLIPTokenizer, make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    parts = {**make_pipeline().components, "tokenizer": tokenizer, "text_encoder": CLIPTextModel(config).eval()}
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.save_pretrained(tmp_path)
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path, local_files_only=True)
    assert type(loaded.tokenizer) is CLIPTokenizer
    assert loaded.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert loaded.tokenizer.model_max_length == TEXT_LENGTH
    assert report_text(loaded.tokenizer, "a zebra", TEXT_LENGTH).unknown_words == ("zebra",)
    texts = ["a sitting dog, at night", "ein süßer 🐶"]
    assert loaded.tokenizer(texts).input_ids == tokenizer(texts).input_ids
    before, after = (p.encode_prompt("a sitting dog", "cpu", 1, True)[0] for p in (pipeline, loaded))
    assert before.shape == (1, TEXT_LENGTH, 16)
    assert torch.equal(before, after)
