"""Tuning and changes: what they do inside, and that nothing of them is left outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core import seeds
from imagic.core.errors import OptionError, StateError
from imagic.core.losses import denoising_loss, fixed_pairs
from imagic.core.types import Tuning, TuningPlan, WeightChange
from tests.conftest import MakePipeline

FULL, LORA = TuningPlan("full"), TuningPlan("lora", rank=4, alpha=8.0)
PLANS = [FULL, LORA, TuningPlan("full", parts=("attn2",)), TuningPlan("lora", rank=2, parts=("to_q", "conv1"))]


def loss(backbone: StableDiffusionBackbone) -> Tensor:
    pairs = fixed_pairs(4, backbone.levels, (4, 8, 8))
    text = backbone.encode_text(["a sitting dog"])
    return denoising_loss(backbone, seeds.initial_noise((4, 8, 8), [1]), pairs, text).mean()


def predict(backbone: StableDiffusionBackbone) -> Tensor:
    z, t = seeds.initial_noise((4, 8, 8), [5, 6]), torch.tensor([100, 800])
    with torch.no_grad():
        return backbone.predict(z, t, backbone.encode_text(["a dog", "a cat"]))


def step(backbone: StableDiffusionBackbone, tuning: Tuning, count: int = 2) -> None:
    optimizer = torch.optim.Adam(tuning.parameters.values(), lr=1e-2)
    for _ in range(count):
        optimizer.zero_grad()
        loss(backbone).backward()
        optimizer.step()


def tune(backbone: StableDiffusionBackbone, plan: TuningPlan) -> WeightChange:
    with backbone.tuning(plan) as tuning:
        step(backbone, tuning)
        return tuning.change()


class Snapshot:
    """Everything about a network that must come back."""

    def __init__(self, backbone: StableDiffusionBackbone) -> None:
        self.network = backbone.unet
        self.tensors = {name: t.clone() for name, t in self.network.state_dict().items()}
        self.objects = {name: id(p) for name, p in self.network.named_parameters()}
        self.tree = self._tree()

    def _tree(self) -> list[Any]:
        modules = [(name, id(module), type(module), module.training) for name, module in self.network.named_modules()]
        return [*modules, *[(name, p.requires_grad) for name, p in self.network.named_parameters()]]

    def assert_unchanged(self) -> None:
        assert self._tree() == self.tree
        assert {name: id(p) for name, p in self.network.named_parameters()} == self.objects
        now = self.network.state_dict()
        assert list(now) == list(self.tensors)
        assert all(torch.equal(now[name], tensor) for name, tensor in self.tensors.items())
        assert all(p.grad is None for p in self.network.parameters())
        assert not hasattr(self.network, "peft_config")


def end_well(backbone: StableDiffusionBackbone, plan: TuningPlan) -> None:
    tune(backbone, plan)


def raise_while_tuning(backbone: StableDiffusionBackbone, plan: TuningPlan, error: BaseException) -> None:
    with backbone.tuning(plan) as tuning:
        step(backbone, tuning)
        raise error


def end_by_error(backbone: StableDiffusionBackbone, plan: TuningPlan) -> None:
    with pytest.raises(ZeroDivisionError):
        raise_while_tuning(backbone, plan, ZeroDivisionError())


def end_by_interrupt(backbone: StableDiffusionBackbone, plan: TuningPlan) -> None:
    with pytest.raises(KeyboardInterrupt):
        raise_while_tuning(backbone, plan, KeyboardInterrupt())


def end_by_closing_a_generator(backbone: StableDiffusionBackbone, plan: TuningPlan) -> None:
    def fit() -> Iterator[int]:
        with backbone.tuning(plan) as tuning:
            step(backbone, tuning)
            yield 1
            yield 2

    running = fit()
    next(running)
    running.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("ending", [end_well, end_by_error, end_by_interrupt, end_by_closing_a_generator])
def test_the_original_network_comes_back(
    eps_backbone: StableDiffusionBackbone,
    plan: TuningPlan,
    ending: Callable[[StableDiffusionBackbone, TuningPlan], None],
) -> None:
    before, output = Snapshot(eps_backbone), predict(eps_backbone)
    ending(eps_backbone, plan)
    before.assert_unchanged()
    assert torch.equal(predict(eps_backbone), output)
    assert tune(eps_backbone, plan).tensors  # free for the next


@pytest.mark.parametrize("plan", PLANS)
def test_tuning_lowers_the_loss_and_its_change_repeats_it(
    tiny_backbone: StableDiffusionBackbone, plan: TuningPlan
) -> None:
    before = float(loss(tiny_backbone))
    with tiny_backbone.tuning(plan) as tuning:
        step(tiny_backbone, tuning, 5)
        tuned, output = float(loss(tiny_backbone).detach()), predict(tiny_backbone)
        change = tuning.change()
    assert tuned < before
    snapshot = Snapshot(tiny_backbone)
    with tiny_backbone.changed(change):
        assert torch.allclose(predict(tiny_backbone), output, atol=1e-5)
        assert not any(p.requires_grad for p in tiny_backbone.unet.parameters())
    snapshot.assert_unchanged()


@pytest.mark.parametrize("plan", PLANS)
def test_only_the_planned_parameters_require_gradients(eps_backbone: StableDiffusionBackbone, plan: TuningPlan) -> None:
    with eps_backbone.tuning(plan) as tuning:
        assert all(p.dtype == torch.float32 for p in tuning.parameters.values())
        loss(eps_backbone).backward()
        wanted = {id(p) for p in tuning.parameters.values()}
        for name, p in eps_backbone.unet.named_parameters():
            assert p.requires_grad == (id(p) in wanted), name
            assert (p.grad is not None) == (id(p) in wanted), name
            if plan.parts:
                assert id(p) not in wanted or any(part in name for part in plan.parts)


def test_a_new_lora_is_silent_seeded_and_leaves_the_global_generator_alone(
    eps_backbone: StableDiffusionBackbone,
) -> None:
    output = predict(eps_backbone)
    state = torch.random.get_rng_state()
    factors = []
    for seed in (0, 0, 1):
        with eps_backbone.tuning(TuningPlan("lora", rank=4, seed=seed)) as tuning:
            assert torch.equal(predict(eps_backbone), output)  # B is zero
            factors.append(tuning.change().tensors)
    assert torch.equal(torch.random.get_rng_state(), state)
    names = [name for name in factors[0] if ".lora_A." in name]
    assert names
    assert all(torch.equal(factors[0][name], factors[1][name]) for name in names)
    assert not any(torch.equal(factors[0][name], factors[2][name]) for name in names)
    # He's uniform initialisation of a linear layer: bounded by 1 / sqrt(inputs).
    first = factors[0][names[0]]
    assert 0.8 < float(first.abs().max()) * first.shape[1] ** 0.5 <= 1


@pytest.mark.parametrize("plan", [FULL, LORA])
def test_the_scale_of_a_change(eps_backbone: StableDiffusionBackbone, plan: TuningPlan) -> None:
    change, original = tune(eps_backbone, plan), predict(eps_backbone)
    outputs = {}
    for scale in (0.0, 0.5, 1.0):
        with eps_backbone.changed(change, scale):
            outputs[scale] = predict(eps_backbone)
    with eps_backbone.changed(None):
        assert torch.equal(predict(eps_backbone), original)
    assert torch.equal(outputs[0.0], original)
    near, far = ((outputs[scale] - original).norm() for scale in (0.5, 1.0))
    assert 0 < near < far


def test_a_full_change_is_the_difference_of_the_weights(eps_backbone: StableDiffusionBackbone) -> None:
    originals = {name: p.clone() for name, p in eps_backbone.unet.named_parameters()}
    with eps_backbone.tuning(FULL) as tuning:
        step(eps_backbone, tuning)
        change = tuning.change()
        for name, p in eps_backbone.unet.named_parameters():
            assert torch.equal(change.tensors[name], p.detach() - originals[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("plan", [FULL, LORA])
def test_half_precision_networks_are_tuned_through_float32_masters(
    make_pipeline: MakePipeline, plan: TuningPlan, dtype: torch.dtype
) -> None:
    backbone = StableDiffusionBackbone.from_pipeline(make_pipeline(), name="tiny", dtype=dtype)
    before, first = Snapshot(backbone), float(loss(backbone))
    with backbone.tuning(plan) as tuning:
        assert all(p.dtype == torch.float32 for p in tuning.parameters.values())
        step(backbone, tuning, 8)
        assert float(loss(backbone).detach()) < first
        change = tuning.change()
    before.assert_unchanged()
    with backbone.changed(change):
        assert {p.dtype for p in backbone.unet.parameters()} == {dtype}
        assert float(loss(backbone)) < first


def test_nested_use_is_refused_and_harms_nothing(eps_backbone: StableDiffusionBackbone) -> None:
    before = Snapshot(eps_backbone)
    with eps_backbone.tuning(FULL):
        with pytest.raises(RuntimeError, match="in use by a tuning"), eps_backbone.tuning(LORA):
            pass
        with pytest.raises(RuntimeError, match="in use by a tuning"), eps_backbone.changed(None):
            pass
    before.assert_unchanged()


def test_plans_and_changes_that_do_not_fit_are_refused(eps_backbone: StableDiffusionBackbone) -> None:
    before = Snapshot(eps_backbone)
    for plan, message in [
        (TuningPlan("adapter"), "choose 'full' or 'lora'"),
        (TuningPlan("full", parts=("nothing",)), "No weight .* 'nothing'"),
        (TuningPlan("lora", parts=("nothing", "none")), "No layer .* 'nothing' or 'none'"),
    ]:
        with pytest.raises(OptionError, match=message), eps_backbone.tuning(plan):
            pass
    for change in [
        WeightChange("full", {"elsewhere.weight": torch.ones(2)}),
        WeightChange("full", {"conv_in.weight": torch.ones(2)}),
        WeightChange("hypernetwork", {}),
    ]:
        with pytest.raises(StateError), eps_backbone.changed(change):
            pass
    before.assert_unchanged()
