"""What there is to choose from: the model, the methods with their options, pictures to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from imagic import api
from imagic.core import registry
from imagic.core.describing import describe_method
from imagic.core.types import Method
from imagic.menagerie.examples import SEEDS, example_png, examples
from imagic.serve.requests import MOST_SEEDS, MOST_STRENGTHS, settable
from imagic.serve.routes.common import Serving, errors

router = APIRouter(tags=["catalogue"])


class ModelView(BaseModel):
    """The served model. loaded: the worker has it; before, what follows is unknown. error: why it cannot be loaded."""

    name: str
    loaded: bool
    image_size: int | None
    abilities: list[str]
    device: str | None
    error: str | None


class Models(BaseModel):
    models: list[ModelView]
    default: str


class OptionView(BaseModel):
    """An option of a method. minimum, maximum: inclusive, null for none. choices: empty where any value will do.
    settable: whether a request may set it, which is so but for what may name a file."""

    name: str
    type: str
    default: Any
    help: str
    minimum: float | None
    maximum: float | None
    choices: list[str]
    settable: bool


class MethodView(BaseModel):
    """A method. texts: those it must be given. needs: abilities of the model. available: whether the served model has
    them; null while it loads."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    paper: str
    texts: list[str]
    needs: list[str]
    available: bool | None
    presets: dict[str, dict[str, Any]]
    fit: list[OptionView] = Field(description="Options that decide the fit; not for /again.")
    edit: list[OptionView] = Field(description="Options that decide the rendering.")


class Methods(BaseModel):
    methods: list[MethodView]
    default: str


class Limits(BaseModel):
    """The most of each: bytes of a request, pixels of a picture, characters of a text, seeds and strengths of an edit,
    unfinished edits of all and of one client."""

    max_bytes: int
    max_pixels: int
    max_text: int
    max_seeds: int
    max_strengths: int
    max_queue: int
    max_per_client: int


class ExampleView(BaseModel):
    """A picture and a sentence for it; the picture is at /examples/{name}."""

    name: str
    text: str
    source_text: str


class Examples(BaseModel):
    examples: list[ExampleView]


@router.get("/limits", responses=errors())
def limits(service: Serving) -> Limits:
    """How much may be asked."""
    settings = service.settings
    return Limits(
        max_bytes=settings.max_bytes,
        max_pixels=settings.max_pixels,
        max_text=api.LONGEST_TEXT,
        max_seeds=MOST_SEEDS,
        max_strengths=MOST_STRENGTHS,
        max_queue=settings.max_queue,
        max_per_client=settings.max_per_client,
    )


@router.get("/models", responses=errors())
def models(service: Serving) -> Models:
    """The model that this service edits with."""
    facts = service.facts()
    shown = ModelView(
        name=service.model,
        loaded="fingerprint" in facts,
        image_size=facts.get("image_size"),
        abilities=facts.get("abilities", []),
        device=facts.get("device"),
        error=facts.get("error"),
    )
    return Models(models=[shown], default=service.model)


@router.get("/methods", responses=errors())
def methods(service: Serving) -> Methods:
    """Every method, with its options: types, defaults, bounds, choices and what they do."""
    abilities = service.facts().get("abilities")
    found = [registry.method(name) for name in registry.names(registry.Group.METHODS)]
    return Methods(methods=[_described(method, abilities) for method in found], default=api.DEFAULT_METHOD)


@router.get("/examples", responses=errors())
def list_examples() -> Examples:
    """Pictures to begin with, and a sentence for each."""
    return Examples(examples=[ExampleView(**vars(each)) for each in examples()])


@router.get(
    "/examples/{name}",
    response_class=Response,
    responses={200: {"description": "PNG.", "content": {"image/png": {}}}, **errors(404, 422)},
)
def example(name: Annotated[str, Path(pattern="^[a-z]{1,32}$")]) -> Response:
    """The picture of an example."""
    if name not in SEEDS:
        raise HTTPException(404, "There is no such example; /examples lists them.")
    return Response(example_png(name), media_type="image/png")


def _described(method: Method, abilities: Sequence[str] | None) -> MethodView:
    """abilities: of the served model; None while it loads."""
    values = describe_method(method)
    values["available"] = None if abilities is None else method.needs <= set(abilities)
    for step, options in (("fit", method.FitOptions), ("edit", method.EditOptions)):
        free = settable(options)
        values[step] = [{**option, "settable": option["name"] in free} for option in values[step]]
    return MethodView(**values)
