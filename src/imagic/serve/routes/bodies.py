"""The body of a new edit: JSON, or a form with files, both read into the same strictly typed request."""

from __future__ import annotations

import base64
import json
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from imagic.serve.requests import EditRequest

FILES = ("image", "mask")
AS_TEXT = ("text", "source_text", "method", "model", "preset", "mask")
JSON, FORM = "application/json", "multipart/form-data"
# The smallest picture that is taken, 16 x 16 pixels, for the description.
TINY = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAF0lEQVR42mP4TyJgGNUwqmFUw8jTAABV8wEP6V2ZEwAAAABJRU5ErkJggg=="
EXAMPLE = {"image": TINY, "text": "a sitting dog", "strength": "auto", "seed": 0}


async def read_edit(request: Request, max_bytes: int) -> EditRequest:
    """Raises RequestValidationError for a body that is not as described, HTTPException 415 for another kind."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == JSON:
            return EditRequest.model_validate_json(await request.body())
        if kind == FORM:
            return EditRequest.model_validate_json(json.dumps(await _form(request, max_bytes)))
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from error
    raise HTTPException(415, f"Send an edit as {JSON} or {FORM}.")


async def _form(request: Request, max_bytes: int) -> dict[str, Any]:
    """The fields of a form as JSON values: files as base64, texts as they are, the rest as the JSON that it is, or else
    as text, such as `auto`."""
    values: dict[str, Any] = {}
    async with request.form(max_files=2, max_fields=32, max_part_size=max_bytes) as form:
        for name, value in form.multi_items():
            if name in values:
                raise HTTPException(422, f"The field {name[:64]!r} is there twice; send it once.")
            if isinstance(value, UploadFile):
                if name not in FILES:
                    raise HTTPException(422, f"The field {name[:64]!r} is no file; send it as text.")
                values[name] = base64.b64encode(await value.read()).decode()
            else:
                values[name] = value if name in AS_TEXT else _plain(value)
    return values


def _plain(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def description() -> dict[str, Any]:
    """The body in OpenAPI, both forms of it."""
    schema = EditRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    fields = dict(schema["properties"])
    fields["image"] = {"type": "string", "format": "binary", "description": "The picture's file."}
    form = {"type": "object", "required": schema["required"], "properties": fields, "additionalProperties": False}
    return {
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": schema, "example": EXAMPLE}, FORM: {"schema": form}},
        }
    }
