"""The page's log-in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from upscaling.service.access.provider import COOKIE, login_request, token_of
from upscaling.service.api.deps import tasks_of
from upscaling.service.settings import Oidc
from upscaling.service.tasks import RefusedError

__all__ = ["router"]

router = APIRouter()


class Code(BaseModel):
    """What the provider gave the page, and what only the page knows."""

    model_config = ConfigDict(extra="forbid")
    code: str = Field(min_length=1, max_length=4000)
    verifier: str = Field(min_length=43, max_length=128)
    redirect_uri: str = Field(min_length=1, max_length=2000)


def _provider(request: Request) -> Oidc:
    oidc = tasks_of(request).settings.oidc
    if tasks_of(request).settings.auth != "oidc" or oidc is None or not oidc.client_id:
        words = "this service has no log-in for its page (settings: oidc.client_id); use its API with a token"
        raise RefusedError(words, code="NOT_FOUND", status=404)
    return oidc


@router.get("/login")
def get_login(request: Request) -> dict[str, Any]:
    """Return where the page sends a user who is to log in, and with which fields."""
    return login_request(_provider(request))


@router.post("/login")
def log_in(body: Code, request: Request) -> Response:
    """Exchange the provider's code for an access token; a cookie has it, too, for what a browser asks by itself."""
    token, seconds = token_of(_provider(request), body.code, body.verifier, body.redirect_uri)
    tasks_of(request).authenticator.user(token)  # or the page would show a refusal of its first question
    answer = JSONResponse({"token": token, "seconds": seconds})
    secure = body.redirect_uri.startswith("https:")
    answer.set_cookie(COOKIE, token, max_age=seconds, path="/v1", httponly=True, samesite="strict", secure=secure)
    return answer


@router.delete("/login", status_code=204, response_model=None)
def log_out() -> Response:
    """Take the cookie back."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/v1", httponly=True, samesite="strict")
    return answer
