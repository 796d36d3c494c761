"""The CLIP's training: its loss against closed forms, what captions fit, and an export that transformers reads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import CLIPModel

from imagic.backbones.clip import load
from imagic.menagerie.captions import describe
from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.training import clip
from imagic.menagerie.training.augment import as_shown, turned
from imagic.menagerie.training.clip import ClipTask, contrastive_loss, fitting, pairs_right, preparation
from imagic.menagerie.training.labels import labels
from imagic.menagerie.training.pairs import PAIRS
from imagic.menagerie.training.pictures import picture_store
from imagic.metrics.pretrained import load_processor, pixel_values

EYE = torch.eye(4, dtype=torch.bool)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    monkeypatch.setattr(clip, "VISION", {**layers, "patch_size": 32})
    monkeypatch.setattr(clip, "TEXT", layers)
    monkeypatch.setattr(clip, "PROJECTION", 16)


def test_with_one_answer_each_the_loss_is_clips_own() -> None:
    """transformers' own, as its forward returns it."""
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    expected = sum(-torch.log_softmax(side, 1).diag().mean() for side in (logits, logits.T)) / 2
    torch.testing.assert_close(contrastive_loss(logits, EYE), expected)


def test_answers_share_the_target_evenly() -> None:
    """All logits equal: log 4 whatever fits. Two that fit and stand out by 10: log 2 between them."""
    fits = EYE.clone()
    fits[:2, :2] = fits[2:, 2:] = True
    assert float(contrastive_loss(torch.zeros(4, 4), fits)) == pytest.approx(math.log(4))
    best = contrastive_loss(10.0 * fits, fits)
    assert float(best) == pytest.approx(math.log(2 + 2 * math.exp(-10)))
    assert float(contrastive_loss(10.0 * EYE, fits)) > float(best)


def test_pairs_are_right_when_the_own_scene_is_nearer() -> None:
    cosines = torch.tensor([[0.9, 0.1, 0, 0], [0.8, 0.3, 0, 0], [0, 0, 0.5, 0.6], [0, 0, 0.2, 0.4]])
    assert float(pairs_right(cosines, EYE)) == 0.5
    fits = EYE.clone()
    fits[1, 0] = True  # this caption fits both scenes of its pair
    assert float(pairs_right(cosines, fits)) == pytest.approx(2 / 3)


def test_a_caption_fits_the_pictures_that_show_all_it_names() -> None:
    scenes = [sample_scene(seed) for seed in range(24)]
    shown = [facts(scene) for scene in scenes]
    names = [("species",), ("species", "colour"), tuple(FACTS), ()]
    named = [{name: fact[name] for name in names[i % 4]} for i, fact in enumerate(shown)]
    found = fitting(named, labels(scenes, "cpu"))
    expected = [[all(fact[name] == value for name, value in wanted.items()) for fact in shown] for wanted in named]
    assert found.tolist() == expected
    assert found.diag().all()


def test_a_mirrored_scene_says_the_other_side() -> None:
    scene = next(each for each in map(sample_scene, range(50)) if len(each.animals) == 1)
    before, after = facts(scene), facts(turned(scene))
    assert {before["facing"], after["facing"]} == {"left", "right"}
    assert {name for name in before if before[name] != after[name]} == {"facing"}
    assert as_shown([scene, scene], torch.tensor([True, False])) == [turned(scene), scene]
    assert before["facing"] not in describe(turned(scene), {"facing"})


@pytest.mark.usefixtures("small")
def test_the_task_starts_at_a_guess_and_learns_what_it_sees() -> None:
    torch.manual_seed(0)
    task = ClipTask(picture_store(PAIRS, reuse=9, seed=0, shard=12))
    noise = torch.Generator().manual_seed(0)
    loss, before = task.loss(0, 16, noise)
    assert before["contrast"] == pytest.approx(math.log(16), rel=0.2)
    guess = sum(math.log(len(values)) for values in FACTS.values()) / len(FACTS)
    assert before["reading"] == pytest.approx(guess, rel=0.25)
    assert float(loss) == pytest.approx(before["contrast"] + clip.READING_WEIGHT * before["reading"], rel=1e-5)
    optimiser = torch.optim.AdamW([p for each in task.networks().values() for p in each.parameters()], 3e-3)
    for _ in range(25):
        loss, after = task.loss(0, 16, torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert after["contrast"] < 0.7 * before["contrast"]
    assert after["found"] > before["found"]
    assert all(p.grad is not None for p in task.clip.parameters())


@pytest.mark.usefixtures("small")
def test_the_export_is_a_clip_of_transformers_with_all_that_metrics_and_losses_need(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = ClipTask(picture_store(PAIRS, reuse=1, seed=0, shard=1))
    task.export(task.networks(), tmp_path)
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    texts = ["a sitting dog", "a red bird on the snow"]
    loaded = CLIPModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    tokens = task.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = loaded(**tokens, pixel_values=images)
    encoder = load(str(tmp_path), torch.device("cpu"))
    torch.testing.assert_close(encoder.embed_images(images), output.image_embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.embed_texts(texts), output.text_embeds, rtol=0, atol=1e-5)
    # The metrics' way of preparing a picture of this world gives the pixels that the training saw.
    levels = ((images + 1) * 127.5).round() / 127.5 - 1
    torch.testing.assert_close(pixel_values(load_processor(tmp_path), images), levels, rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "preprocessor_config.json").read_text()) == json.loads(json.dumps(preparation()))


def test_the_real_one_is_small_enough_to_ship() -> None:
    model = clip.build_clip(clip.build_tokenizer())
    assert 2 * sum(p.numel() for p in model.parameters()) < 15e6


@pytest.mark.usefixtures("small")
def test_the_sheet_shows_the_held_out_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "scenes_of", lambda first, count, held_out: [sample_scene(1, held_out=held_out)] * 2)
    sheet = ClipTask(picture_store(PAIRS, reuse=1, seed=0, shard=1)).sheet({})
    assert isinstance(sheet, Image.Image)
    assert sheet.size == (256, 128)
