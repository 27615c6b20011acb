"""What requests of the page may say, as models that check it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Names = list[str]
"""Names of columns, of any length, as files have them: the body of a request is bounded."""
Quality = Literal["pretrained", "tuned", "fast", "auto", "best"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
Task = Literal["forecast", "impute", "detect", "classify", "regress"]
TASKS: dict[str, tuple[Task, ...]] = {
    "table": ("forecast", "impute", "detect"),
    "recordings": ("classify", "regress"),
}
"""Tasks by what a file holds; the first is the usual one."""
SERIES = "series.jsonl"
"""The file of a forecast with the lines of each series."""


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Columns(_Asked):
    """Parameters of the forecaster about the columns of a table; empty lists are no choice."""

    time_col: str | None = None
    id_col: str | None = None
    target_cols: Names | None = None
    futr_exog: Names | None = None
    hist_exog: Names | None = None
    freq: Annotated[str, Field(max_length=200)] | None = None
    dayfirst: bool | None = None
    decimal: Literal[".", ","] | None = None
    fill: Annotated[float, Field(allow_inf_nan=False)] | None = None

    def given(self) -> dict[str, Any]:
        """The parameters."""
        return {key: None if value == [] else value for key, value in self.model_dump().items()}


class CaseRoles(_Asked):
    """Parameters of `read_cases` about the columns of a table of recordings."""

    label_col: str | None = None
    id_col: str | None = None
    ignored_cols: Names = []


class Look(_Asked):
    """What to read a file as."""

    kind: Literal["table", "recordings"] | None = None
    columns: Columns = Columns()
    roles: CaseRoles = CaseRoles()
    given: int | None = None
    """The state's "given" where this is asked; None is not checked."""


class Train(_Asked):
    """Settings of a run; each task reads some of them."""

    task: Task | None = None
    h: int = Field(1, ge=1, le=100_000)
    level: Annotated[list[Annotated[float, Field(gt=0, lt=100)]], Field(max_length=6)] = []
    quality: Quality = "fast"
    season: int | None = Field(None, ge=1, le=100_000)
    alpha: float = Field(0.01, gt=0, lt=1)
    method: Literal["reconstruction", "forecast"] = "reconstruction"
    inputs: int | None = None
    """The state's "inputs" where this is asked; None is not checked."""
