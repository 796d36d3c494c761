"""A method from image to result in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagic.core.options import build_options
from imagic.core.types import Backbone, EditResult, FitRequest, Method, State
from tests.methods.conftest import finish


def fit(method: Method, backbone: Backbone, request: FitRequest, **values: Any) -> State:
    options: Any = build_options(method.FitOptions, values)
    return finish(method.fit(backbone, request, options))[1]


def edit(method: Method, backbone: Backbone, state: State, seeds: Sequence[int] = (0,), **values: Any) -> EditResult:
    options: Any = build_options(method.EditOptions, values)
    return finish(method.edit(backbone, state, options, seeds))[1]


def fit_and_edit(
    method: Method,
    backbone: Backbone,
    request: FitRequest,
    seeds: Sequence[int] = (0,),
    *,
    fit_values: Mapping[str, Any] | None = None,
    **values: Any,
) -> EditResult:
    return edit(method, backbone, fit(method, backbone, request, **(fit_values or {})), seeds, **values)
