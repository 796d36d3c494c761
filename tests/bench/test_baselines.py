import pytest
import torch

from imagic.bench.baselines.copy import Copy
from imagic.bench.baselines.generate import Generate
from imagic.bench.rows import read_rows
from imagic.bench.runner import run
from imagic.core import seeds
from imagic.core.cascade import paint
from imagic.core.options import build_options
from imagic.core.sampling import sample
from imagic.core.types import FitRequest
from tests.backbones.test_deepfloyd import SMALL, cascade
from tests.bench.fakes import SPREAD, FakeBackbone, FakeSuite, drain, entry


def edit(method, seeds, text="4", **options):
    backbone = FakeBackbone()
    request = FitRequest(torch.full((1, 3, 16, 16), -0.9), text)
    _, state = drain(method.fit(backbone, request, build_options(method.FitOptions, {})))
    _, result = drain(method.edit(backbone, state, build_options(method.EditOptions, options), seeds))
    return result


def test_copy_returns_the_input():
    result = edit(Copy(), [1, 2])
    assert [(each.seed, each.strength) for each in result.chosen] == [(1, 0), (2, 0)]
    for image in (result.chosen[1].image, result.reconstruction):
        assert torch.equal(image, torch.full((3, 16, 16), -0.9))


def test_copy_keeps_everything_and_reaches_nothing(tmp_path):
    drain(run(tmp_path, FakeSuite(count=4), [entry("copy", method=Copy())], FakeBackbone()))
    for row in read_rows(tmp_path).values():
        assert (row["success"], row["asked"], row["kept"], row["individual"]) == (False, False, True, True)
        assert row["scores"]["psnr_kept"] == "inf"


def closed_form(grey, seed, num_steps):
    """DDIM on pixels N(grey, SPREAD^2) only scales a latent's deviation d = z - alpha grey, by
    (alpha' alpha SPREAD^2 + sigma' sigma) / (alpha^2 SPREAD^2 + sigma^2) in each step."""
    grid = FakeBackbone().schedule(num_steps)
    d = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed)).double() - grid.alpha[0] * grey
    for a, s, a2, s2 in zip(grid.alpha, grid.sigma, grid.alpha[1:], grid.sigma[1:], strict=False):
        d = d * (a2 * a * SPREAD**2 + s2 * s) / (a**2 * SPREAD**2 + s**2)
    return (0.98 * (grey + d)).clamp(-1, 1).float()


@pytest.mark.parametrize(("text", "steps"), [("2", 50), ("-3", 10)])
def test_generate_samples_what_the_text_means_and_nothing_of_the_input(text, steps):
    result = edit(Generate(), [1, 2], text, guidance_scale=1.0, num_steps=steps)
    for candidate in result.chosen:
        expected = closed_form(float(text) / 10, candidate.seed, steps)
        assert torch.allclose(candidate.image, expected, atol=1e-5)
        assert candidate.strength == 1
    assert torch.allclose(result.reconstruction, torch.full((3, 16, 16), -0.9 * 0.98))


def test_generate_follows_seed_and_guidance():
    plain, again = edit(Generate(), [5], guidance_scale=1.0), edit(Generate(), [4, 5], guidance_scale=1.0)
    assert torch.allclose(plain.chosen[0].image, again.chosen[1].image, atol=1e-6)
    # Guided away from the empty text (grey -0.5), a guided picture overshoots the text's own grey.
    guided = edit(Generate(), [5], guidance_scale=3.0)
    assert guided.chosen[0].image.mean() > plain.chosen[0].image.mean() + 0.1


def test_a_cascade_paints_what_is_generated_and_the_input():
    backbone, _, _ = cascade(16)
    backbone.upper_stages()[0].num_steps = 2
    method = Generate()
    request = FitRequest(torch.full((1, 3, 16, 16), -0.9), "a dog")
    _, state = drain(method.fit(backbone, request, build_options(method.FitOptions, {})))
    options = build_options(method.EditOptions, {"num_steps": 3, "guidance_scale": 2.0})
    _, result = drain(method.edit(backbone, state, options, [5]))
    text, null = backbone.encode_text(["a dog"]), backbone.encode_text([""])
    _, z = drain(sample(backbone, seeds.initial_noise(SMALL, [5]), backbone.schedule(3), text, null, 2.0))
    for found, latent in ((result.chosen[0].image, z), (result.reconstruction, state.tensors["z0"])):
        _, expected = drain(paint(backbone, latent, text, 5))
        assert torch.equal(found, expected[0])
