"""The Open Inference Protocol, version 2: health, metadata, and inference of labelled cases.

Cases are one tensor ``x`` of shape (cases, channels, steps); NaN, or null in JSON, is a missing
value, and the end of a case that is shorter. Tensors may be binary, as the protocol's extension has
it.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from convtimenet import __version__
from convtimenet.data.labelled.cases import Cases, as_cases
from convtimenet.errors import DataError
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.serving.engine import Engine
from convtimenet.serving.json_body import check_cells, parsed, written
from convtimenet.serving.models import Labelling, Models, Served
from convtimenet.serving.refusals import Refused
from convtimenet.serving.replies import Reply, json_reply
from convtimenet.serving.schemas import (
    COMPUTING,
    TextError,
    answers,
    body_of,
    checked,
    refusals,
    reply_of,
)

_OCTETS = "application/octet-stream"
_HEADER = "inference-header-content-length"
_BINARY = {_OCTETS: {"type": "string", "format": "binary"}}
_VERSION = "1"
"""The version of every model."""
_TYPES: dict[str, str] = {
    "FP64": "<f8",
    "FP32": "<f4",
    "FP16": "<f2",
    "BOOL": "|b1",
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
}
DataType = Literal[
    "FP64", "FP32", "FP16", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32",
    "UINT64",
]  # fmt: skip


class InputParameters(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    binary_data_size: int | None = None


class OutputParameters(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    binary_data: bool | None = None


class RequestParameters(BaseModel):
    """Those of Triton's scheduler change no answer; its client sends them if it is asked to."""

    model_config = ConfigDict(extra="forbid", strict=True)
    binary_data_output: bool | None = None
    priority: int | None = Field(None, description="of no effect: requests are answered in turn")
    timeout: int | None = Field(None, description="of no effect: the server has its own")


class InferInput(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: Literal["x"]
    shape: list[int] = Field(min_length=3, max_length=3)
    datatype: DataType
    parameters: InputParameters | None = None
    data: Any = Field(None, json_schema_extra={"type": "array", "items": {}})


class InferOutput(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    parameters: OutputParameters | None = None


class InferRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    id: str | None = Field(None, max_length=1000)
    model_name: str | None = Field(None, description="as in the address; KServe's client sends it")
    model_version: str | None = Field(None, description="as in the address")
    parameters: RequestParameters | None = None
    inputs: list[InferInput] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] | None = None


class OutputTensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = Field(None, description="absent if it is binary, after the JSON")
    parameters: dict[str, int] | None = Field(None, description="binary_data_size, if it is")


class InferAnswer(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


def routes(engine: Engine, models: Models) -> APIRouter:
    """The routes of the protocol."""
    router = APIRouter(
        prefix="/v2", tags=["Open Inference Protocol"], responses=refusals(TextError)
    )

    @router.get("")
    async def server() -> dict[str, Any]:
        """Name and version of the server."""
        return {
            "name": "convtimenet",
            "version": __version__,
            "extensions": ["binary_tensor_data"],
        }

    @router.head("/health/live", include_in_schema=False)
    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether the server runs."""
        return {"live": True}

    @router.head("/health/ready", include_in_schema=False)
    @router.get("/health/ready", responses=refusals(TextError, 503))
    async def ready() -> dict[str, bool]:
        """Whether it answers; it is up only with its models loaded and warm."""
        if not engine.ready:
            raise Refused(503, "the server no longer computes; restart it")
        return {"ready": True}

    async def metadata(name: str) -> dict[str, Any]:
        """Inputs and outputs of a model; a forecaster has none here."""
        served = models.named(name)
        tensors = _tensors(served) if isinstance(served, Labelling) else ([], [])
        return {
            "name": served.name,
            "versions": [_VERSION],
            "platform": "convtimenet",
            "inputs": tensors[0],
            "outputs": tensors[1],
        }

    async def model_ready(name: str) -> dict[str, Any]:
        """Whether a model answers."""
        return {"name": models.named(name).name, "ready": True}

    async def infer(request: Request, name: str) -> Response:
        """Classes and probabilities, or numbers, for cases."""
        one = _Infer(models, name, await request.body(), request.headers.get(_HEADER))
        return reply_of(await engine.run(one.prepare, one.finish))

    async def check_version(name: str, version: str) -> None:
        if version != _VERSION:
            raise Refused(
                404,
                f"{models.named(name).name!r} has no version {version[:64]!r}; expected "
                f"{_VERSION!r}, or an address without /versions",
            )

    for path, checks in (
        ("/models/{name}", []),
        ("/models/{name}/versions/{version}", [Depends(check_version)]),
    ):
        known = refusals(TextError, 404)
        router.add_api_route(path, metadata, dependencies=checks, responses=known)
        router.add_api_route(f"{path}/ready", model_ready, dependencies=checks, responses=known)
        router.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            dependencies=checks,
            openapi_extra=body_of(InferRequest),
            responses=refusals(TextError, *COMPUTING) | answers(InferAnswer, **_BINARY),
        )
    return router


def _tensors(served: Labelling) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    model = served.model
    x = {"name": "x", "datatype": "FP64", "shape": [-1, model.n_channels_, -1]}
    if not isinstance(model, ConvTimeNetClassifier):
        return [x], [{"name": "number", "datatype": "FP64", "shape": [-1]}]
    shares = {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(model.classes_)]}
    label = {"name": "class", "datatype": _datatype(model.classes_), "shape": [-1]}
    return [x], [label, shares]


def _datatype(values: np.ndarray) -> str:
    return {"i": "INT64", "u": "INT64", "f": "FP64", "b": "BOOL"}.get(values.dtype.kind, "BYTES")


class _Infer:
    """A request, from its body to its answer."""

    def __init__(self, models: Models, name: str, body: bytes, header: str | None):
        self.models, self.name, self.body, self.header = models, name, body, header

    def prepare(self) -> tuple[Served, Cases]:
        found = self.models.named(self.name)
        if not isinstance(found, Labelling):
            raise Refused(
                422,
                f"{self.name!r} is a forecaster, and this protocol has no time stamps: POST a "
                "table to /forecast, or series to /v1/timeseries/forecast",
            )
        self.served, rest = found, b""
        text = self.body
        if self.header is not None:
            digits = self.header[:19]
            if not digits.isdecimal() or digits != self.header or int(digits) > len(self.body):
                raise Refused(
                    400, f"expected the length of the JSON part in {_HEADER}; correct the header"
                )
            text, rest = self.body[: int(self.header)], self.body[int(self.header) :]
        self.sent = checked(InferRequest, parsed(text))
        self._check_address()
        known = [one["name"] for one in _tensors(found)[1]]
        for one in self.sent.outputs or ():
            if one.name not in known:
                raise DataError(
                    f"outputs: expected {' and '.join(known)}, found {one.name[:64]!r}; name those"
                )
        return found, found.prepare(as_cases(_values(self.sent.inputs[0], rest)))

    def _check_address(self) -> None:
        """Refuse a body that names another model than its address does."""
        for what, given, known in (
            ("model_name", self.sent.model_name, self.name),
            ("model_version", self.sent.model_version, _VERSION),
        ):
            if given not in (None, "", known):
                raise DataError(
                    f"{what}: expected {known!r} as in the address, found {given[:64]!r}; correct "
                    "one of them, or leave it out of the body"
                )

    def finish(self, asked: Cases, found: np.ndarray) -> Reply:
        model = self.served.model
        if isinstance(model, ConvTimeNetClassifier):
            by_name = {"class": model.classes_[found.argmax(axis=1)], "probabilities": found}
        else:
            by_name = {"number": found}
        sent, binary = self.sent, b""
        default = sent.parameters is not None and sent.parameters.binary_data_output
        wanted = {}
        for asked_for in sent.outputs or ():
            own = None if asked_for.parameters is None else asked_for.parameters.binary_data
            wanted[asked_for.name] = default if own is None else own
        outputs = []
        for name, as_bytes in (wanted or dict.fromkeys(by_name, default)).items():
            values = by_name[name]
            one: dict[str, Any] = {"name": name, "datatype": _datatype(values)}
            one["shape"] = list(values.shape)
            if as_bytes:
                raw = _bytes_of(values)
                one["parameters"] = {"binary_data_size": len(raw)}
                binary += raw
            else:
                one["data"] = values.reshape(-1).tolist()
            outputs.append(one)
        answer: dict[str, Any] = {"model_name": self.served.name, "model_version": _VERSION}
        answer |= {} if sent.id is None else {"id": sent.id}
        answer["outputs"] = outputs
        if not binary:
            return json_reply(answer)
        text = written(answer)
        return Reply(text + binary, _OCTETS, {_HEADER: str(len(text))})


def _values(sent: InferInput, rest: bytes) -> np.ndarray:
    """The tensor of cases, (n, C, L).

    Raises
    ------
    DataError
        If its data do not fill its shape.
    """
    shape = tuple(sent.shape)
    if min(shape) < 1:
        raise DataError(f"x: expected a shape of (cases, channels, steps), found {list(shape)}")
    size = shape[0] * shape[1] * shape[2]
    check_cells("x", size)
    dtype = np.dtype(_TYPES[sent.datatype])
    given = None if sent.parameters is None else sent.parameters.binary_data_size
    if given is not None:
        if given != size * dtype.itemsize or len(rest) != given:
            raise DataError(
                f"x: expected {size * dtype.itemsize} bytes for the shape {list(shape)} of "
                f"{sent.datatype}, found {len(rest)} and a binary_data_size of {given}; correct it"
            )
        return np.frombuffer(rest, dtype).reshape(shape).astype(np.float64)
    if rest:
        raise DataError(
            f"x: expected no bytes after the JSON part, as no binary_data_size says what they are, "
            f"found {len(rest)}; correct {_HEADER}, or set binary_data_size"
        )
    try:
        values = np.array(sent.data, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.empty(0)
    if not isinstance(sent.data, list) or values.size != size:
        raise DataError(
            f"x: expected {size} numbers for the shape {list(shape)}, or null where missing, found "
            f"{values.size or 'others'}; correct the data or the shape"
        )
    if _texts(sent.data) or not _fits(values, dtype):
        raise DataError(
            f"x: expected numbers of the type {sent.datatype}, or null where missing, found others "
            "among them; correct the data or the datatype"
        )
    return values.reshape(shape)


def _texts(data: list[Any]) -> bool:
    """Whether a value is text, which numpy would read as a number."""
    kinds = set(map(type, data))
    return str in kinds or (
        list in kinds and any(_texts(one) for one in data if isinstance(one, list))
    )


def _fits(values: np.ndarray, dtype: np.dtype) -> bool:
    """Whether numbers, NaN where missing, are of a type; any are of a float's."""
    if dtype.kind == "f":
        return True
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    known = values[~np.isnan(values)]
    whole = known == np.rint(known)
    return bool((whole & (known >= float(least)) & (known <= float(most))).all())


def _bytes_of(values: np.ndarray) -> bytes:
    kind = _datatype(values)
    if kind == "BYTES":
        texts = [str(one).encode() for one in values.tolist()]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.ascontiguousarray(values).astype(_TYPES[kind]).tobytes()
