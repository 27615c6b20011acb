"""Help texts of flags, and error messages for wrong ones.

jsonargparse detects the errors; its messages are recognised here by their wording and replaced by
ones that name the flag, what was expected and found, and what was probably meant.
"""

from __future__ import annotations

import csv
import re
from argparse import SUPPRESS, Action, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse_from_object
from jsonargparse import ArgumentParser, DefaultHelpFormatter

from convtimenet.errors import ConfigError, MissingExtraError
from convtimenet.names import meant

PROG = "convtimenet"
_LONGEST = 200  # characters; longer messages of libraries are cut


def names(given: Any) -> list[str] | str | None:
    """Type of a flag with column names: a,b or [a,b], or a list in a --config file. Quotes keep the
    commas of a name."""
    if not isinstance(given, str):
        return given
    if given.startswith("["):
        import yaml

        try:
            found = yaml.load(given, yaml.BaseLoader)  # the names 010 and no stay text
        except yaml.YAMLError as error:
            raise ValueError(f"not a list of names: {given}") from error
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise ValueError(f"not a list of names: {given}")
        return found
    return [one.strip() for one in next(csv.reader([given], skipinitialspace=True), [""])]


# Determined by the data, by the sub-command, or by another flag.
_NO_FLAG = {
    *("head", "context_length", "outputs", "channels", "protocol", "device", "seed"),
    *("hist_exog", "futr_exog", "stat_exog", "stat_categories", "members"),
}


@cache  # several commands have the same flags, and reading a docstring takes long
def _help_of(settings: type) -> dict[str, str | None]:
    return {p.arg_name: p.description for p in parse_from_object(settings).params}


def config_flags(parser: ArgumentParser, group: str, settings: type) -> None:
    """One flag per dataclass field. A flag that is not given is absent from the result, so that the
    preset's value applies; null is a value."""
    help_of, types = _help_of(settings), get_type_hints(settings)
    shown = parser.add_argument_group(f"{group} (default: the preset's value)")
    for field in fields(settings):
        if field.name not in _NO_FLAG:
            text = " ".join((help_of.get(field.name) or "").split())
            added = shown.add_argument(
                f"--{group}.{field.name}",
                type=types[field.name],
                default=SUPPRESS,
                help=text.replace("None", "null"),
            )
            if added is not None and get_origin(types[field.name]) is tuple:
                added.metavar = _metavar(added)


class Help(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Help that shows what to write for a flag instead of its Python type."""

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        shown = action.option_strings and action.default not in (None, SUPPRESS, False)
        return f"{text} (default: %(default)s)" if shown and "%(default)" not in text else text

    def _get_default_metavar_for_optional(self, action: Action) -> str:
        return _metavar(action)


class Parser(ArgumentParser):
    """Raises errors as one sentence, without the usage of all flags."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ConfigError(" ".join(message.split())) from ex


def types_of(action: Action) -> tuple[Any, ...]:
    """The types of a flag's value."""
    hint = getattr(action, "_typehint", action.type)
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def choices_of(action: Action) -> list[str]:
    """The allowed values of a flag; empty if they are not limited."""
    literals = [one for one in types_of(action) if get_origin(one) is Literal]
    return [str(word) for one in literals for word in get_args(one)]


def _metavar(action: Action) -> str:
    hint = next((one for one in types_of(action) if one is not NoneType), str)
    if get_origin(hint) is tuple:
        return "[N,...]" if get_args(hint)[0] is int else "[X,...]"
    return {int: "N", float: "X", names: "COLUMNS"}.get(hint, "TEXT")


def expected(action: Action) -> str:
    """The expected value of a flag, in words."""
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        NoneType: "null",
        names: "column names, as a,b",
    }
    if action.metavar in _BY_METAVAR:
        return _BY_METAVAR[action.metavar]
    if action.nargs == "+":
        return "numbers, as 80 95"
    texts = []
    for hint in types_of(action):
        if get_origin(hint) is Literal:
            choices = list(map(repr, get_args(hint)))
            texts.append(choices[0] if len(choices) == 1 else "one of " + ", ".join(choices))
        elif get_origin(hint) is tuple:
            few = "[9,11,15]" if get_args(hint)[0] is int else "[0.1,0.5,0.9]"
            texts.append(f"numbers, as {few}")
        else:
            texts.append(words.get(hint, "another value"))
    return " or ".join(texts)


_BY_METAVAR = {
    "FILE": "a file",
    "FOLDER": "a folder",
    "COLUMN": "a column",
    "STEP": "as 15min or 1D",
}


class ErrorText:
    """Rewrites jsonargparse's error messages.

    Parameters
    ----------
    arguments
        The user's arguments.
    commands
        The parser of every sub-command by name.
    """

    def __init__(self, arguments: Sequence[str], commands: Mapping[str, ArgumentParser]):
        self.commands = commands
        self.command = next((one for one in arguments if one in commands), None)
        self.actions = {} if self.command is None else _actions(commands[self.command])

    def text(self, message: str) -> str:
        """Our message for one of jsonargparse."""
        if self.command is not None:
            message = re.sub(rf"\b{self.command}\.(?=\w)", "", message)
        for pattern, answer in (
            (r"invalid choice: '(.*?)' \(choose", self._no_command),
            (r"[Uu]nrecognized arguments: (\S+)", self._unknown),
            (r"does not accept option '(.*?)'", self._unknown_setting),
            (r"arguments? are required: (.*)", self._missing),
            (r"argument (\S+): expected (?:one|at least one) argument", self._no_value),
            (r"argument (\S+): ignored explicit argument '(.*)'", self._needless),
            (r"argument --([\w.]+): invalid \w+ (value: .*)", self._wrong_value),
            (r"File does not exist: '?(.*?)'?$", self._no_config),
            (r"Path is not a file: '?(.*?)'?$", self._folder_as_config),
            (r"Problems parsing config: (.*)", self._bad_config),
            (r"Unexpected config: (.*)", self._bad_config),
            (r'(?:Parser key|argument) "?([\w.]+)"?(?: element \d+)?: (.*)', self._wrong_value),
        ):
            if found := re.search(pattern, message):
                return f"{answer(*found.groups())} (see: {self._help})"
        cut = message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ..."
        return f"{cut} (see: {self._help})"

    @property
    def _help(self) -> str:
        return f"{PROG} {self.command} --help" if self.command else f"{PROG} --help"

    def _near(self, name: str, known: Sequence[str], dashes: str = "--") -> str:
        found = meant(name, known)
        return f"; did you mean {dashes}{found}?" if found else ""

    def _no_command(self, found: str) -> str:
        hint = self._near(found, list(self.commands), dashes="")
        return f"there is no command {found!r}{hint or '; expected one of ' + self._all_commands}"

    @property
    def _all_commands(self) -> str:
        return ", ".join(self.commands)

    def _unknown(self, found: str) -> str:
        flag = found.partition("=")[0]
        if not flag.startswith("-"):
            who = self.command or PROG
            return f"{who} takes no further arguments, found {found!r}; leave it out"
        if self.command is None:
            return f"there is no flag {flag} before a command; expected one of {self._all_commands}"
        flags = [name for name, action in self.actions.items() if action.option_strings]
        hint = self._near(flag.lstrip("-"), flags) or "; leave it out"
        return f"{self.command} has no flag {flag}{hint}"

    def _unknown_setting(self, found: str) -> str:
        hint = self._near(found, list(self.actions), dashes="")
        return f"--config: {self.command} has no setting {found!r}{hint or '; leave it out'}"

    def _missing(self, found: str) -> str:
        wanted = []
        for name in found.split(", "):
            action = self.actions.get(name.lstrip("-"))
            if action is not None:
                name = (
                    f"{action.option_strings[0] if action.option_strings else name} ({action.help})"
                )
            wanted.append(name)
        return f"{self.command or PROG} needs {' and '.join(wanted)}; found none"

    def _no_value(self, found: str) -> str:
        flag = found.partition("/")[0]
        action = self.actions.get(flag.lstrip("-"))
        what = "" if action is None else f", {expected(action)}"
        return f"{flag} needs a value{what}; found none"

    def _needless(self, flag: str, found: str) -> str:
        if flag.startswith("-h/"):  # -h3 was probably meant as --h 3
            return f"-h shows help and takes no value, found {found!r}; did you mean --h {found}?"
        return f"{flag} takes no value, found {found!r}; write {flag} alone, or leave it out"

    def _no_config(self, found: str) -> str:
        return f"--config: there is no such file {found}; check the path"

    def _folder_as_config(self, found: str) -> str:
        return f"--config: expected a file, found the folder {found}"

    def _bad_config(self, found: str) -> str:
        cut = found if len(found) <= _LONGEST else f"{found[:_LONGEST]} ..."
        return f"--config: expected settings as 'name: value' in YAML or JSON, found: {cut}"

    def _wrong_value(self, key: str, rest: str) -> str:
        action = self.actions.get(key)
        value = re.search(r"[Vv]alue:\s?(.*)$", rest)
        if action is None or value is None:
            cut = rest if len(rest) <= _LONGEST else f"{rest[:_LONGEST]} ..."
            return f"--{key}: {cut}"
        found = value[1] or "nothing"
        flag = f"--{key}" if action.option_strings else key
        near = self._near(found, choices_of(action), dashes="") if choices_of(action) else ""
        return f"{flag}: expected {expected(action)}, found {found}{near}"


def _actions(parser: ArgumentParser) -> dict[str, Action]:
    """The flags and arguments of a sub-command by name; its own come before those of groups."""
    found = {action.dest: action for action in parser._actions if action.dest != "help"}
    return dict(sorted(found.items(), key=lambda one: "." in one[0]))


# --- completion ----------------------------------------------------------------------------------

_FILES = frozenset({"data", "test", "future", "out", "report", "json", "check"})
_FOLDERS = frozenset({"model", "save", "load", "resume", "to", "init_from"})


def completion(parser: ArgumentParser, commands: Mapping[str, ArgumentParser], shell: str) -> str:
    """A script that completes commands, flags, their choices and files in a shell.

    Raises
    ------
    MissingExtraError
        If shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise MissingExtraError("shtab", "cli", "completion") from error
    for command in commands.values():
        for name, action in _actions(command).items():
            kind = shtab.FILE if name in _FILES else shtab.DIRECTORY if name in _FOLDERS else None
            if kind is not None:
                vars(action)["complete"] = kind
    return parser.get_completion_script(f"shtab-{shell}")
