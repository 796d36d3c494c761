"""The optimiser against torch's own Muon and AdamW on the same weights and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from imagic.menagerie.training.optimiser import ADAM_BETAS, EDGE_WIDTH, WEIGHT_DECAY, Optimiser

RATE = 0.03
NO_CLIP = 1e9


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 20, 3),  # 27 inputs per output: inside
        nn.GroupNorm(2, 20),
        nn.Conv2d(20, 24, 3),
        nn.Flatten(),
        nn.Linear(24, 32),
        nn.Linear(32, EDGE_WIDTH - 1),  # an outlet
        nn.Embedding(30, 20),
    )


def give_gradients(net: nn.Module, step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    gradients = {name: torch.randn(p.shape, generator=generator) for name, p in net.named_parameters()}
    for name, parameter in net.named_parameters():
        parameter.grad = gradients[name].clone()
    return gradients


def stepped(net: nn.Module, optimiser: Optimiser, steps: range, rate: float = RATE) -> dict[str, Tensor]:
    for step in steps:
        give_gradients(net, step)
        optimiser.step(rate, NO_CLIP)
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


MATRICES = ("0.weight", "2.weight", "4.weight")
OTHERS = ("0.bias", "1.weight", "1.bias", "2.bias", "4.bias", "5.weight", "5.bias", "6.weight")


def test_every_weight_is_stepped_by_one_of_the_two() -> None:
    assert {name for name, _ in network().named_parameters()} == {*MATRICES, *OTHERS}


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_is_stepped_by_muon(name: str) -> None:
    net = network()
    twin = nn.Parameter(net.get_parameter(name).detach().clone().flatten(1))
    muon = torch.optim.Muon([twin], RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
    optimiser = Optimiser([net], 1.0)
    for step in range(4):
        twin.grad = give_gradients(net, step)[name].flatten(1)
        optimiser.step(RATE, NO_CLIP)
        muon.step()
    torch.testing.assert_close(net.get_parameter(name).detach().flatten(1), twin.detach(), rtol=0, atol=0)


@pytest.mark.parametrize("name", OTHERS)
def test_the_rest_is_stepped_by_adamw(name: str) -> None:
    net = network()
    twin = nn.Parameter(net.get_parameter(name).detach().clone())
    adamw = torch.optim.AdamW([twin], RATE, ADAM_BETAS, weight_decay=WEIGHT_DECAY)
    optimiser = Optimiser([net], 1.0)
    for step in range(4):
        twin.grad = give_gradients(net, step)[name]
        optimiser.step(RATE, NO_CLIP)
        adamw.step()
    torch.testing.assert_close(net.get_parameter(name).detach(), twin.detach(), rtol=1e-5, atol=1e-6)


def test_a_first_step_along_a_matrix_is_nearly_orthogonal_and_as_long_as_adams() -> None:
    net = network()
    before = net.get_parameter("4.weight").detach().clone()
    after = stepped(net, Optimiser([net], 1.0), range(1))["4.weight"]
    step = (after - before * (1 - WEIGHT_DECAY * RATE)) / RATE
    singular = torch.linalg.svdvals(step) / (0.2 * math.sqrt(max(step.shape)))
    assert 0.6 < float(singular.min()) <= float(singular.max()) < 1.3


def test_gradients_are_scaled_to_the_largest_norm_and_dropped() -> None:
    nets = [network(), network()]
    optimisers = [Optimiser([net], 1.0) for net in nets]
    gradients = give_gradients(nets[0], 0)
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
    assert optimisers[0].step(RATE, norm / 4) == pytest.approx(norm, rel=1e-5)
    give_gradients(nets[1], 0)
    for parameter in nets[1].parameters():
        assert parameter.grad is not None
        parameter.grad /= 4
    optimisers[1].step(RATE, NO_CLIP)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        # Muon rounds to bfloat16 on its way.
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)
        assert a.grad is None


def test_the_rate_is_that_of_the_step() -> None:
    net = network()
    optimiser = Optimiser([net], 1.0)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    after = stepped(net, optimiser, range(1), rate=0.0)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_its_state_put_into_another_goes_on_identically() -> None:
    net = network()
    first = Optimiser([net], RATE)
    stepped(net, first, range(3))
    twin = network()
    twin.load_state_dict(net.state_dict())
    second = Optimiser([twin], RATE)
    kept = {name: value.clone() for name, value in first.state().items()}
    second.load_state(kept)
    again = second.state()
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    a, b = (stepped(n, o, range(3, 6)) for n, o in ((net, first), (twin, second)))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_weights_loaded_later_are_the_ones_that_are_stepped() -> None:
    net, twin = network(), network()
    optimiser = Optimiser([net], RATE)
    loaded = {name: value + 1 for name, value in net.state_dict().items()}
    net.load_state_dict(loaded)
    twin.load_state_dict(loaded)
    a = stepped(net, optimiser, range(2))
    b = stepped(twin, Optimiser([twin], RATE), range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)
