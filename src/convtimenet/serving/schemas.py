"""Bodies and answers in the OpenAPI document; bodies checked against their models with our kind of
message."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, TypeVar, get_args, get_origin

from fastapi import Request, Response
from pydantic import BaseModel, Field, ValidationError

from convtimenet.errors import DataError
from convtimenet.names import did_you_mean
from convtimenet.serving.replies import Reply

Model = TypeVar("Model", bound=BaseModel)
_REFERENCE = "#/components/schemas/{model}"
_KNOWN: dict[str, type[BaseModel]] = {}
_WRONG = "HTTPValidationError"
"""FastAPI's own answer to what is wrong in an address; ours have another form."""
_ALWAYS = (400, 401, 403, 408, 413, 415, 429, 500)
_REFUSALS = {
    400: "a damaged header or compressed body",
    401: "another token than the server's, or none",
    403: "a Host header that names another machine, without a token",
    404: "there is no such model, or version of it",
    408: "the body took too long",
    413: "too large",
    415: "an unknown Content-Type, charset or Content-Encoding",
    422: "wrong in its form or values",
    429: "too many requests wait",
    500: "an error in the server",
    503: "the server no longer computes",
    504: "the answer took too long",
}
COMPUTING = (404, 422, 504)
"""What a route that asks a model refuses besides."""


class ErrorFound(BaseModel):
    code: str = Field(description="the HTTP status")
    message: str = Field(description="what was expected, what was found, what to do")
    param: None
    type: str


class Error(BaseModel):
    error: ErrorFound


class TextError(BaseModel):
    error: str = Field(description="what was expected, what was found, what to do")


def refusals(form: type[BaseModel], *others: int) -> dict[int | str, dict[str, Any]]:
    """The part of a route's OpenAPI description about errors: those of any request, and others."""
    return {
        status: {"model": form, "description": _REFUSALS[status]}
        for status in sorted((*_ALWAYS, *others))
    }


def answers(form: Any, **others: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The part about answers: JSON of this model, or others by content type."""
    content = {kind: {"schema": one} for kind, one in others.items()}
    return {200: {"model": form, "content": content}}


def body_of(model: type[BaseModel], **others: dict[str, Any]) -> dict[str, Any]:
    """The part of a route's OpenAPI description about its body: JSON of this model, or others by
    content type. A body is read as bytes and checked in the computing thread."""
    _KNOWN[model.__name__] = model
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}
    }
    content |= {kind: {"schema": one} for kind, one in others.items()}
    return {"requestBody": {"required": True, "content": content}}


def completed(
    document: dict[str, Any], needs_token: bool, without: Container[str]
) -> dict[str, Any]:
    """An OpenAPI document with the schemas that `body_of` refers to, without answers that there are
    not, and with the token, but for the paths `without` one."""
    document["security"] = [{"bearer": []}] if needs_token else [{"bearer": []}, {}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            found = operation["responses"]
            if _WRONG in str(found.get("422")):
                del found["422"]
            if path in without:
                operation["security"] = []
                del found["401"]
    document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name, model in _KNOWN.items():
        found = model.model_json_schema(ref_template=_REFERENCE)
        schemas |= found.pop("$defs", {})
        schemas[name] = found
    for name in (_WRONG, "ValidationError"):
        schemas.pop(name, None)
    return document


def checked(model: type[Model], value: Any) -> Model:
    """A parsed body as an instance of its model.

    Raises
    ------
    DataError
        If it is not one; the message names the first field that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise DataError(problem(error.errors(include_url=False))) from None


def problem(errors: Any) -> str:
    """What pydantic found, as expected, found, remedy."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"]) or "the body"
    wanted = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{where}: expected a value, found none; add it (see /openapi.json)"
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no such field; leave it out (see /openapi.json)"
    found = repr(first.get("input"))
    found = found if len(found) <= 60 else f"{found[:60]}..."
    return f"{where}: expected {wanted}, found {found}; correct it (see /openapi.json)"


async def check_query(request: Request) -> None:
    """Refuse options in the address that the route does not have, or that are given twice where it
    takes one; they would change nothing.

    Raises
    ------
    DataError
        If there is one; the message names the one that was probably meant.
    """
    known = {one.alias: one for one in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            raise DataError(
                f"{name[:64]}: there is no such option in the address; "
                f"{did_you_mean(name[:64], list(known))}"
            )
        given = request.query_params.getlist(name)
        kind = known[name].field_info.annotation
        if len(given) > 1 and list not in [get_origin(one) for one in (kind, *get_args(kind))]:
            raise DataError(
                f"{name}: expected it once in the address, found it {len(given)} times; leave all "
                "but one out"
            )


def reply_of(reply: Reply) -> Response:
    """The HTTP response for a reply."""
    return Response(reply.body, media_type=reply.kind, headers=reply.headers)
