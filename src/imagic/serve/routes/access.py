"""Handing in the key once, so that a page's pictures, which carry no header, come with it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from imagic.serve.guard import COOKIE
from imagic.serve.routes.common import errors

router = APIRouter(tags=["access"])


class Login(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    key: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,200}$")]


@router.post("/login", status_code=204, responses=errors(400, 413, 422))
def login(asked: Login, request: Request, response: Response) -> None:
    """Keep the key in a cookie that no script can read and that goes to this service alone."""
    key = request.app.state.key
    if key is not None and not key.opens(asked.key):
        raise HTTPException(401, "This is not the key of this service.")
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, asked.key, httponly=True, samesite="strict", secure=secure, path="/")
