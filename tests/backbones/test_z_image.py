"""What is Z-Image's own: texts with as many tokens as they need, each normed, in batches and in mixtures."""

from __future__ import annotations

import pytest
import torch

from imagic.backbones.z_image import TEXT_LENGTH, ZImageBackbone
from imagic.core import seeds
from imagic.core.conditioning import Conditioning
from imagic.core.errors import ModelError
from imagic.core.losses import denoising_loss, fixed_pairs
from imagic.core.options import build_options
from imagic.core.sampling import predict_guided
from imagic.core.types import FitRequest
from imagic.methods._imagic_render import Fitted
from imagic.methods.imagic import Imagic
from tests.backbones import tiny
from tests.backbones.test_families import run

SHAPE = (4, 8, 8)
# 25 tokens with the template, and 43: the network fills them up to 32 and 64.
SHORT, LONG = "a photo of a sitting dog", "a photo of a dog sitting on the grass " * 2 + "dog standing"


def backbone() -> ZImageBackbone:
    return ZImageBackbone.from_pipeline(tiny.build_z_image(), name="tiny", side=8)


def predicted(model: ZImageBackbone, text: Conditioning) -> torch.Tensor:
    z = seeds.initial_noise(SHAPE, [5] * len(text))
    with torch.no_grad():
        return model.predict(z, torch.full([len(text)], 600.0), text)


def test_tokens_are_those_of_the_pipeline_each_divided_by_its_root_mean_square() -> None:
    pipeline = tiny.build_z_image()
    rows, _ = pipeline.encode_prompt([SHORT, LONG], do_classifier_free_guidance=False)
    sequence = backbone().encode_text([SHORT, LONG]).tensors["sequence"]
    assert sequence.shape[1] == max(len(row) for row in rows)
    for ours, row in zip(sequence, rows, strict=True):
        size = row.square().mean(-1, keepdim=True).sqrt()
        assert size.max() > 10 * size.median()  # else nothing would need to be divided
        assert torch.allclose(ours[: len(row)], row / size, atol=1e-5)
        assert not ours[len(row) :].any()


def test_texts_of_other_lengths_go_through_the_network_as_in_the_pipeline() -> None:
    """Their own fillings, and their own places of the picture's patches behind them."""
    pipeline, model = tiny.build_z_image(), backbone()
    rows, _ = pipeline.encode_prompt([SHORT, LONG], do_classifier_free_guidance=False)
    assert [len(row) // 32 for row in rows] == [0, 1]
    z, timestep = seeds.initial_noise(SHAPE, [3, 4]), torch.tensor([700.0, 20.0])
    with torch.no_grad():
        expected = pipeline.transformer(list(z.unsqueeze(2)), (1000 - timestep) / 1000, rows).sample
        output = model.predict(z, timestep, model.encode_text([SHORT, LONG]))
    assert torch.allclose(output, -torch.stack(expected).squeeze(2), atol=5e-6)


def test_guidance_takes_a_text_and_a_shorter_empty_one() -> None:
    model = backbone()
    text, null = model.encode_text([LONG]), model.encode_text([""])
    assert text.tensors["sequence"].shape != null.tensors["sequence"].shape
    z = seeds.initial_noise(SHAPE, [5])
    with torch.no_grad():
        guided = predict_guided(model, z, 600.0, text, null, 3.0)
    expected = predicted(model, null) + 3 * (predicted(model, text) - predicted(model, null))
    assert torch.allclose(guided, expected, atol=1e-5)


@pytest.mark.parametrize(("first", "second"), [(SHORT, LONG), (LONG, SHORT)])
def test_a_mixture_has_the_tokens_of_both_and_its_ends_only_their_own(first: str, second: str) -> None:
    model = backbone()
    start, end = model.encode_text([first]), model.encode_text([second])
    swept = start.lerp(end, torch.tensor([0.0, 0.5, 1.0]))
    counts = swept.tensors["sequence"].any(-1).sum(1).tolist()
    own = [each.tensors["sequence"].shape[1] for each in (start, end)]
    assert counts == [own[0], max(own), own[1]]
    outputs = predicted(model, swept)
    assert torch.allclose(outputs[:1], predicted(model, start), atol=1e-5)
    assert torch.allclose(outputs[2:], predicted(model, end), atol=1e-5)
    exported = model.pipeline_inputs(swept[2:])["prompt_embeds"]
    assert torch.equal(exported, end.tensors["sequence"])


def test_what_is_no_token_stays_none_while_an_embedding_is_fitted() -> None:
    model = backbone()
    leaf = model.encode_text([SHORT, LONG]).trainable()
    sequence = leaf.tensors["sequence"]
    before = sequence.detach().clone()
    optimizer = torch.optim.Adam([sequence], lr=0.1)
    for _ in range(2):
        pairs = fixed_pairs(2, model.levels, SHAPE)
        denoising_loss(model, seeds.initial_noise(SHAPE, [1]), pairs, leaf).mean().backward()
        optimizer.step()
    moved = (sequence != before).any(-1)
    assert torch.equal(moved, before.any(-1))
    assert not moved.all()


@pytest.mark.parametrize("mixing", ["lerp", "projection"])
def test_imagic_between_a_source_text_and_a_longer_target(mixing: str) -> None:
    model, method = backbone(), Imagic()
    image = torch.rand(1, 3, 16, 16, generator=seeds.generator(0)) * 2 - 1
    little = {"embedding_steps": 1, "network_steps": 1, "embedding_pairs": 1, "network_pairs": 1, "measured_pairs": 1}
    request = FitRequest(image, LONG, SHORT)
    state = run(method.fit(model, request, build_options(method.FitOptions, little)))
    options = build_options(method.EditOptions, {"etas": (0.0, 1.0), "num_steps": 2, "mixing": mixing})
    fitted = Fitted.unpack(model, state, LONG)
    ends = fitted.mixed([0.0, 1.0], options).tensors["sequence"]
    length = fitted.fitted.tensors["sequence"].shape[1]
    assert torch.equal(ends[0, :length], fitted.fitted.tensors["sequence"][0])
    assert not ends[0, length:].any()
    # What the target has beyond the source is the edit whole: there is nothing of the source in it.
    weight = options.push if mixing == "projection" else 1.0
    assert torch.equal(ends[1, length:], weight * fitted.target.tensors["sequence"][0, length:])
    chosen = run(method.edit(model, state, options, [0])).chosen
    assert all(torch.isfinite(candidate.image).all() for candidate in chosen)
    assert not torch.equal(chosen[0].image, chosen[1].image)


def test_a_text_is_cut_where_the_tokenizer_ends_it() -> None:
    """The template's end is the first to go, as in the pipeline; then the text's."""
    model, tokenizer = backbone(), tiny.build_qwen_tokenizer()
    for words in (480, 500, 501, 502, 600):
        text = "the " * words + "dog"
        ids = tokenizer(model._prompt(text), truncation=True, max_length=TEXT_LENGTH).input_ids
        seen = tokenizer.decode(ids).partition("user\n")[2].partition("<|im_end|>")[0]
        assert text.startswith(seen)
        assert model.report_text(text).cut == text.removeprefix(seen).strip()
        assert model.encode_text([text]).tensors["sequence"].shape[1] == len(ids)


def test_a_tokenizer_without_a_template_is_refused() -> None:
    pipeline = tiny.build_z_image()
    pipeline.tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        ZImageBackbone.from_pipeline(pipeline, name="tiny", side=8)
