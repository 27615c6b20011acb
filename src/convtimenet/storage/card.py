"""Metadata of a saved model: scores as JSON, and a model card in Markdown."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from convtimenet.wording import listing, networks

_TASKS = {
    "ConvTimeNetForecaster": ("time-series-forecasting", "windows", "predict()"),
    "ConvTimeNetClassifier": ("time-series-classification", "cases", "predict(X)"),
    "ConvTimeNetRegressor": ("time-series-regression", "cases", "predict(X)"),
}
_ENCODER = "Pretrained"
"""An encoder without an answer of its own."""


def scores_of(description: dict[str, Any]) -> dict[str, Any]:
    """The estimator's own ``scores_``, and the data they are from; empty without any.

    Parameters
    ----------
    description
        Output of the estimator's `description`, with the config of its network.
    """
    history, scores = description["history"], description["data"].get("scores") or {}
    return {
        "scores": scores,
        "data": f"validation split{_chosen(description)}" if scores else "none",
        "epoch": history["best_epoch"],
        "trained_again_on_all": history["refitted"],
    }


def _chosen(description: dict[str, Any]) -> str:
    """What else the validation split was used for, in brackets; empty if nothing was trained."""
    model = description["model"]
    if not description["history"]["steps"]:
        return ""
    if description["train"]["schedule"] == "decay":
        return " (used to select the epoch)"
    if model["random_patches"] or model["linear"]:
        return " (used to choose the share of the trained network; the last epoch is kept)"
    return " (the last epoch is kept)"


def _again(description: dict[str, Any]) -> str:
    """How the model was fitted for a second time, after it had been scored."""
    second = description["history"].get("second")
    if not description["history"]["steps"]:
        how = "The model was then fitted again on all data"
    elif description["train"]["refit"] == "continue":
        how = "The network was then trained further on all data"
    else:
        how = "The network was then trained again, from new weights, on all data"
    if second is not None and second["steps"]:
        n = second["epochs"]
        how += f" for {n} epoch{'s' if n > 1 else ''}"
    return f"{how}; the scores are those before."


def _score_table(scores: dict[str, Any]) -> list[str]:
    """Lines of a table of scores by name, or by model and name."""
    by_model = scores if all(isinstance(one, dict) for one in scores.values()) else {"": scores}
    names = dict.fromkeys(name for one in by_model.values() for name in one)
    rows = [[name, *(_number(one.get(name)) for one in by_model.values())] for name in names]
    head = ["score", *(model or "value" for model in by_model)]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def card(description: dict[str, Any]) -> str:
    """A model card (Markdown with YAML front matter) from the content of ``model.json``."""
    kind = description["kind"]
    task, examples, call = _TASKS.get(kind, ("time-series", "examples", "predict(X)"))
    found = scores_of(description)
    if found["scores"]:
        scored = [*_score_table(found["scores"]), "", f"Data: {found['data']}."]
        if found["trained_again_on_all"]:
            scored.append(_again(description))
    elif (description["examples"] or {}).get("held_back"):
        scored = ["None are known."]  # a model of an earlier version
    else:
        scored = ["None: there was no validation split."]
    facts = [f"- {name}: {value}" for name, value in _facts(description, examples).items()]
    used = [f"{name} {version(name)}" for name in ("convtimenet", "torch")]
    lines = [
        "---",
        "library_name: convtimenet",
        f"tags: [convtimenet, time-series, {task}]",
        "license: unknown  # fill in, then re-seal the folder (see below)",
        "---",
        "",
        f"# {kind}",
        "",
        "## Trained on",
        "",
        *facts,
        "",
        "## Scores",
        "",
        *scored,
        "",
        "## Use",
        "",
        "```python",
        *_use(kind, call, description),
        "```",
        "",
        "Every file is verified against manifest.json. After an intended change, for example to",
        "this card: `python -c \"from convtimenet.storage.manifest import seal; seal('folder')\"`",
        "",
        f"Written with {', '.join(used)}, Python {platform.python_version()}.",
    ]
    return "\n".join(lines) + "\n"


def _use(kind: str, call: str, description: dict[str, Any]) -> list[str]:
    """Lines of Python that use the model."""
    if kind == _ENCODER:
        series = description["model"]["revin"]
        kind = "ConvTimeNetForecaster" if series else "ConvTimeNetClassifier"
        fit = "fit(table)" if series else "fit(X, y)"
        return [f"from convtimenet import {kind}", f'model = {kind}(init_from="folder").{fit}']
    return [f"from convtimenet import {kind}", f'model = {kind}.load("folder")', f"model.{call}"]


def _facts(description: dict[str, Any], examples: str) -> dict[str, str]:
    """Facts about data and training, by name."""
    data, model, train = description["data"], description["model"], description["train"]
    channels, counted = data["channels"], description["examples"]
    named = isinstance(channels, list)
    facts = {
        "channels": f"{len(channels)}: {listing(channels)}" if named else str(channels),
        "context": f"{model['context_length']} steps",
    }
    if model["head"] == "forecast":
        facts["horizon"] = f"{model['outputs']} steps"
    elif model["head"] == "classify":
        facts["classes"] = f"{model['outputs']}: {listing([str(c) for c in data['classes']])}"
    if "frequency" in data:
        facts["frequency"] = str(data["frequency"])
    if counted is not None:
        facts[f"training {examples}"] = f"{counted['fitted']:,}"
        facts[f"validation {examples}"] = f"{counted['held_back']:,}"
    history, parameters = description["history"], description["parameters"]
    how = f"{len(history['epochs'])} epochs"
    if not model.get("kernel_sizes", True) or (model.get("pretrained") and not history["steps"]):
        how = str(history["stopped"])
        facts["quality"] = str(parameters["quality"])
    if weights := history.get("weights"):
        facts["networks"] = networks(weights)
    facts["protocol"] = f"{train['protocol']}, seed {train['seed']}, {how}"
    if "preset" in parameters:
        facts["preset"] = str(parameters["preset"])
    return facts
