"""The editor's training: it begins as the diffusion model, learns to look at the source, and exports what loads."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from imagic.backbones.instruction import ADAPTER, read_editor
from imagic.core.seeds import derive
from imagic.menagerie.edits import GROUPS, sample_edit
from imagic.menagerie.facts import facts
from imagic.menagerie.instructions import instruction
from imagic.menagerie.tokenizer import build_tokenizer
from imagic.menagerie.training import diffusion, instruct
from imagic.menagerie.training.diffusion import build_scheduler, build_text_encoder, build_unet
from imagic.menagerie.training.instruct import FILE, InstructTask
from imagic.menagerie.training.pairs import pair
from imagic.menagerie.training.shards import ShardStore
from tests.menagerie import tiny

SHAPE = (12, 16, 16)


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> StableDiffusionPipeline:
    """A small diffusion model, and latents that are scaled."""
    monkeypatch.setattr(diffusion, "UNET", tiny.UNET)
    monkeypatch.setattr(diffusion, "TEXT_WIDTH", tiny.TEXT_WIDTH)
    monkeypatch.setattr(instruct, "RANK", 4)
    vae, tokenizer = tiny.tiny_vae(scaling_factor=0.5), build_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StableDiffusionPipeline(
            vae=vae, unet=build_unet(vae), text_encoder=build_text_encoder(tokenizer), tokenizer=tokenizer,
            scheduler=build_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip


def noise_store() -> ShardStore:
    """Pairs whose latents are noise by their number: the source's, and the source's turned over for the truth."""

    def make(scenes: list[Any]) -> Tensor:
        sources = torch.randn(len(scenes) // 2, *SHAPE, generator=torch.Generator().manual_seed(1))
        return torch.stack([sources, -sources], dim=1).flatten(0, 1)

    return ShardStore(pair, make, views=2, reuse=50, seed=0, shard=8)


def test_it_begins_with_the_answers_of_the_diffusion_model(base: StableDiffusionPipeline) -> None:
    task = InstructTask(base, noise_store())
    z, t = torch.randn(2, 24, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([900, 20])
    hidden = task._read(["make the dog sit", ""])
    with torch.no_grad():
        torch.testing.assert_close(
            task.wide(z, t, hidden).sample, base.unet(z[:, :12], t, hidden).sample, rtol=0, atol=1e-5
        )
        torch.testing.assert_close(
            task.editor(task.networks())(z, t, hidden).sample, task.wide(z, t, hidden).sample, rtol=0, atol=1e-5
        )


def test_a_step_asks_for_the_truth_given_the_source_and_the_instruction(
    base: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss by hand, from the network's input as it was seen."""
    task = InstructTask(base, noise_store())
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        task, "_read", lambda texts: seen.setdefault("texts", texts) and torch.zeros(len(texts), 32, 24)
    )
    forward = task.wide.forward

    def watch(z: Tensor, t: Tensor, hidden: Tensor, **others: Any) -> Any:
        output = forward(z, t, hidden, **others)
        seen.update(z=z, t=t, output=output.sample.detach())
        return output

    monkeypatch.setattr(task.wide, "forward", watch)
    batch = 40
    loss, values = task.loss(3, batch, torch.Generator().manual_seed(5))
    scenes, latents = noise_store().batch(3, 2 * batch)
    noise = torch.Generator().manual_seed(5)
    torch.rand(batch, generator=noise, dtype=torch.float64)
    eps = torch.randn(batch, *SHAPE, generator=noise)
    kept = base.scheduler.alphas_cumprod[seen["t"]].reshape(-1, 1, 1, 1)
    beside, noisy = 0.5 * seen["z"][:, 12:], seen["z"][:, :12]
    truth = (noisy - (1 - kept).sqrt() * eps) / kept.sqrt()
    target = kept.sqrt() * eps - (1 - kept).sqrt() * truth
    assert float(loss.detach()) == pytest.approx(float((seen["output"] - target).square().mean()), rel=1e-3)
    assert values["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    # Source and truth are a pair, in either order; some sources and some texts are left out.
    firsts, seconds = latents[::2], latents[1::2]
    sure = kept.flatten() > 0.05  # where the truth can be told from the noise
    back = torch.stack([(truth[i] - firsts[i]).abs().max() < 0.05 for i in range(batch)])
    forward_ = torch.stack([(truth[i] - seconds[i]).abs().max() < 0.05 for i in range(batch)])
    assert bool((back ^ forward_)[sure].all())
    assert 1 <= int(back[sure].sum()) < int(forward_[sure].sum())
    shown = beside.flatten(1).abs().amax(1) > 0
    expected = torch.where(back[:, None, None, None], seconds, firsts)
    check = sure & shown
    torch.testing.assert_close(beside[check], expected[check])
    assert 0 < int((~shown).sum()) < batch // 3
    empty = torch.tensor([text == "" for text in seen["texts"]])
    assert 0 < int(empty.sum()) < batch // 3
    rng_free = [instruction(facts(a), facts(b)) for a, b in zip(scenes[::2], scenes[1::2], strict=True)]
    assert sum(text == usual for text, usual in zip(seen["texts"], rng_free, strict=True)) >= 2


def test_conditions_are_dropped_as_often_as_in_the_paper(
    base: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 % without the text alone, 5 % without the picture alone, 5 % without both: 100 steps of 40 pairs."""
    task = InstructTask(base, noise_store())
    seen: list[tuple[bool, bool]] = []

    def watch(z: Tensor, t: Tensor, hidden: Tensor) -> Any:
        shown = z[:, 12:].flatten(1).abs().amax(1) > 0
        seen.extend(zip((hidden == 0).tolist(), (~shown).tolist(), strict=True))
        return SimpleNamespace(sample=z[:, :12])

    monkeypatch.setattr(task, "_read", lambda texts: torch.tensor([float(text != "") for text in texts]))
    monkeypatch.setattr(task, "wide", watch)
    for step in range(100):
        task.loss(step, 40, torch.Generator().manual_seed(step))
    for kind in ((True, False), (False, True), (True, True)):
        assert seen.count(kind) / len(seen) == pytest.approx(0.05, abs=0.012)


def test_it_learns_to_look_at_the_source_and_leaves_the_rest(base: StableDiffusionPipeline) -> None:
    """The truth is the source turned over, which no text says."""
    torch.manual_seed(0)
    task = InstructTask(base, noise_store())
    before = {name: p.clone() for name, p in base.unet.named_parameters()}
    trained = [p for part in task.networks().values() for p in part.parameters()]
    assert all(p.requires_grad for p in trained)
    assert sum(p.numel() for p in task.wide.parameters() if p.requires_grad) == sum(p.numel() for p in trained)
    optimiser = torch.optim.Adam(trained, 5e-3)
    losses = []
    for _ in range(25):
        loss, values = task.loss(0, 8, torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(values["loss"])
    assert losses[-1] < 0.8 * losses[0]
    assert task.wide.conv_in.weight[:, 12:].abs().max() > 1e-3
    assert all(torch.equal(p, before[name]) for name, p in base.unet.named_parameters())


def test_the_export_is_read_beside_the_model_it_was_trained_on(base: StableDiffusionPipeline, tmp_path: Path) -> None:
    task = InstructTask(base, noise_store())
    with torch.no_grad():
        for part in task.networks().values():
            for p in part.parameters():
                p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    folder = tmp_path / ADAPTER.parent
    task.export(task.networks(), folder)
    assert (folder / FILE) == tmp_path / ADAPTER
    editor = read_editor(tmp_path, base.unet)
    assert editor is not None
    z, t = torch.randn(2, 24, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([900, 20])
    hidden = task._read(["make the dog sit", ""])
    with torch.no_grad():
        torch.testing.assert_close(editor(z, t, hidden).sample, task.wide(z, t, hidden).sample, rtol=1e-2, atol=1e-2)
        assert float((editor(z, t, hidden).sample - base.unet(z[:, :12], t, hidden).sample).abs().max()) > 0.05
    names = load_file(tmp_path / ADAPTER).keys()
    assert "conv_in.weight" in names
    assert not any("base_layer" in name for name in names)


def test_the_sheet_shows_sources_results_and_truths(
    base: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruct, "SHOWN", 2)
    task = InstructTask(base, noise_store())
    sheet = task.sheet(task.networks())
    assert sheet.size == (2 * 128, 3 * 128)


def test_the_real_adapter_is_small_enough_to_ship() -> None:
    torch.manual_seed(0)
    unet = build_unet(tiny.tiny_vae())
    factors = instruct.add_lora(unet)
    size = sum(p.numel() for p in factors.parameters()) + 128 * 24 * 9 + 128
    assert 8e6 < 2 * size < 12e6


def test_instructions_of_a_step_are_a_function_of_its_number() -> None:
    edit = sample_edit(0, GROUPS[0])
    said = [
        instruction(facts(edit.source), facts(edit.truth), np.random.default_rng(derive(0, f"instructions/{step}")))
        for step in (1, 1, 2, 3, 4, 5)
    ]
    assert said[0] == said[1]
    assert len(set(said)) > 1
