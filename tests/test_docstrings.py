"""The public functions and classes of the reference document their parameters."""

import inspect
import re

import pytest

import convtimenet
from convtimenet import datasets, errors, export, runtime, scores


def _public():
    found = {name: getattr(convtimenet, name) for name in convtimenet.__all__}
    for module in (datasets, errors, export, runtime, scores):
        for name, one in vars(module).items():
            own = getattr(one, "__module__", None) == module.__name__
            if own and not name.startswith("_") and callable(one):
                found[f"{module.__name__}.{name}"] = one
    return {name: one for name, one in found.items() if callable(one)}


@pytest.mark.parametrize("name", _public())
def test_all_parameters_are_documented(name):
    one = _public()[name]
    text = inspect.getdoc(one)
    assert text
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:  # said in the first sentence
        return
    listed = re.findall(r"^(\w[\w, *]*)$", section[1], re.MULTILINE)
    documented = {part.strip(" *") for line in listed for part in line.split(",")}
    expected = {
        parameter.name
        for parameter in inspect.signature(one).parameters.values()
        if not parameter.name.startswith("_")
    }
    assert documented >= expected, expected - documented
