"""Tuning and changing a network's weights with a way back that cannot fail.

The original Parameter objects are never written: fresh ones take their places in the modules, and the originals return
on the way out. So the weights after are the weights before, bit for bit, whatever happened in between. LoRA (Hu et al.
2022) is tuned through peft and applied by merging W + scale (alpha / rank) B A.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from torch import Tensor, nn

from imagic.core import seeds
from imagic.core.errors import OptionError, StateError
from imagic.core.types import TuningPlan, WeightChange

# diffusers' names of the projections of an attention layer, and of a transformer's for its text.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


@dataclass(frozen=True)
class FullTuning:
    """Tuned parameters by name, beside the original ones."""

    parameters: Mapping[str, nn.Parameter]
    originals: Mapping[str, nn.Parameter]

    def change(self) -> WeightChange:
        """New minus old weight per name, float32 on the CPU."""
        return WeightChange(
            "full",
            {name: (p.detach() - self.originals[name].float()).cpu() for name, p in self.parameters.items()},
        )


@dataclass(frozen=True)
class LoraTuning:
    """LoRA factors by peft's names."""

    network: nn.Module = field(repr=False)
    plan: TuningPlan
    parameters: Mapping[str, nn.Parameter]

    def change(self) -> WeightChange:
        """The factors, float32 on the CPU, with rank and alpha as facts."""
        factors = get_peft_model_state_dict(self.network)
        tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in factors.items()}
        return WeightChange("lora", tensors, {"rank": self.plan.rank, "alpha": self.plan.alpha})


@contextmanager
def tune(network: nn.Module, plan: TuningPlan) -> Iterator[FullTuning | LoraTuning]:
    """Within: the planned float32 parameters require gradients and take part in the network; nothing else does.

    Raises OptionError for an unknown kind and for parts that match nothing.
    """
    match plan.kind:
        case "full":
            with _tune_full(network, plan) as full:
                yield full
        case "lora":
            with _tune_lora(network, plan) as lora:
                yield lora
        case _:
            raise OptionError(f"Unknown tuning '{plan.kind}'; choose 'full' or 'lora'.")


@contextmanager
def apply(network: nn.Module, change: WeightChange | None, scale: float) -> Iterator[None]:
    """Within: every weight W that the change names is W + scale * change. Without a change or at scale 0: the original.

    Raises StateError when the change does not fit the network.
    """
    if change is None or scale == 0:
        yield
        return
    originals = dict(network.named_parameters())
    fresh = {}
    for name, delta in _deltas(change).items():
        if name not in originals or originals[name].shape != delta.shape:
            raise StateError(f"The state changes '{name}', which this model lacks: use the model it was made with.")
        weight = originals[name]
        changed = weight.detach().float() + scale * delta.to(weight.device, torch.float32)
        fresh[name] = nn.Parameter(changed.to(weight.dtype), requires_grad=False)
    with _swapped(network, fresh):
        yield


def _deltas(change: WeightChange) -> dict[str, Tensor]:
    """The difference per parameter name."""
    if change.kind == "full":
        return dict(change.tensors)
    if change.kind != "lora":
        raise StateError(f"The state holds an unknown kind of change, '{change.kind}': use the imagic that made it.")
    scaling = float(change.facts["alpha"]) / int(change.facts["rank"])
    deltas = {}
    for name, down in change.tensors.items():
        if module := name.removesuffix(".lora_A.weight"):
            if module == name:
                continue
            up = change.tensors[f"{module}.lora_B.weight"]
            # One product for linear layers and convolutions: B is (out, r), or (out, r, 1, 1) beside A (r, in, kh, kw).
            product = up.flatten(1).float() @ down.flatten(1).float()
            deltas[f"{module}.weight"] = scaling * product.reshape(len(up), *down.shape[1:])
    return deltas


@contextmanager
def _swapped(network: nn.Module, fresh: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """The named parameters replaced by fresh ones, wherever a module holds them; the originals put back after."""
    replacements = {id(p): fresh[name] for name, p in network.named_parameters() if name in fresh}
    slots = [
        (module, key, p)
        for module in network.modules()
        for key, p in module.named_parameters(recurse=False, remove_duplicate=False)
        if id(p) in replacements
    ]
    try:
        for module, key, original in slots:
            setattr(module, key, replacements[id(original)])
        yield
    finally:
        for module, key, original in slots:
            setattr(module, key, original)


@contextmanager
def _flags_kept(network: nn.Module) -> Iterator[None]:
    """requires_grad off within; requires_grad and training modes as before after."""
    gradients = [(p, p.requires_grad) for p in network.parameters()]
    training = [(module, module.training) for module in network.modules()]
    try:
        network.requires_grad_(False)
        yield
    finally:
        for p, flag in gradients:
            p.requires_grad_(flag)
        for module, mode in training:
            module.training = mode


@contextmanager
def _tune_full(network: nn.Module, plan: TuningPlan) -> Iterator[FullTuning]:
    chosen = {
        name: p for name, p in network.named_parameters() if not plan.parts or any(part in name for part in plan.parts)
    }
    if not chosen:
        raise OptionError(f"No weight of the model has {_either(plan.parts)} in its name.")
    fresh = {name: nn.Parameter(p.detach().to(torch.float32, copy=True)) for name, p in chosen.items()}
    with _flags_kept(network), _swapped(network, fresh):
        yield FullTuning(fresh, chosen)


@contextmanager
def _tune_lora(network: nn.Module, plan: TuningPlan) -> Iterator[LoraTuning]:
    targets = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
        and (any(part in name for part in plan.parts) if plan.parts else name.endswith(ATTENTION))
    ]
    if not targets:
        raise OptionError(f"No layer of the model has {_either(plan.parts or ATTENTION)} in its name.")
    config = LoraConfig(
        r=plan.rank, lora_alpha=plan.alpha, target_modules="|".join(re.escape(name) for name in targets)
    )
    modules = {name: network.get_submodule(name) for name in targets}
    with _flags_kept(network):
        try:
            # peft draws from torch's global generator: keep that untouched, and draw again from the plan's seed.
            with torch.random.fork_rng(devices=[]):
                inject_adapter_in_model(config, network)
            generator = seeds.generator(seeds.derive(plan.seed, "lora"))
            parameters = {name: p for name, p in network.named_parameters() if ".lora_" in name}
            for name, p in parameters.items():
                p.data = p.data.float()
                p.requires_grad_(True)
                if ".lora_A." in name:
                    p.data.copy_(_kaiming(p.shape, generator))
            yield LoraTuning(network, plan, parameters)
        finally:
            for name, module in modules.items():
                network.set_submodule(name, module)
            network.__dict__.pop("peft_config", None)


def _kaiming(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """The initialisation of LoRA's A (that of a linear layer), on the CPU."""
    return nn.init.kaiming_uniform_(torch.empty(shape), a=5**0.5, generator=generator)


def _either(parts: tuple[str, ...]) -> str:
    return " or ".join(f"'{part}'" for part in parts)
