"""Types of columns that suit all files of a table, for those who train on it and who forecast."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from convtimenet.errors import DataError
from convtimenet.wording import listing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SharedTypes", "common_type"]


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """A type that holds the values of both: no text of numbers, no time stamp with a zone of one
    without, and numbers lose nothing but what float64 does not hold. None if there is none.

    Categories are the texts they stand for, where they are not categories in both.
    """
    import pyarrow as pa
    from pyarrow import types

    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    one, other = _plain(one), _plain(other)
    kinds = [
        "text" if types.is_string(of) or types.is_large_string(of) else
        "decimal" if types.is_decimal(of) else
        "float" if types.is_floating(of) else
        "integer" if types.is_integer(of) else
        "bytes" if types.is_binary(of) or types.is_large_binary(of) else ""
        for of in (one, other)
    ]  # fmt: skip
    if {*kinds} == {"text", "bytes"}:
        return None
    if {*kinds} == {"decimal", "float"}:
        return pa.float64()
    if {*kinds} == {"decimal", "integer"}:  # pyarrow's own type is too narrow for 64 bits
        decimal = one if types.is_decimal(one) else other
        wide = types.is_decimal256(decimal)
        return pa.decimal256(76, decimal.scale) if wide else pa.decimal128(38, decimal.scale)
    schemas = [pa.schema([("", of)]) for of in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def _plain(of: pa.DataType) -> pa.DataType:
    """The type of the values of categories, and of views of text."""
    import pyarrow as pa
    from pyarrow import types

    of = of.value_type if types.is_dictionary(of) else of
    return pa.string() if types.is_string_view(of) else of


class SharedTypes:
    """Types of columns, file by file.

    Parameters
    ----------
    wanted
        Columns that all files must have if one of them has it, None for any column: what a file
        lacks would be read as missing values beside another, and as an error alone. Others are
        left out.
    """

    def __init__(self, wanted: Collection[str] | None):
        self.wanted = wanted
        self.of: dict[str, pa.DataType] = {}
        """In the order of the first file."""
        self.first: object = None
        self._type_of: dict[str, object] = {}
        """The file in which a column has that type first."""

    def add(self, file: object, types: Mapping[str, pa.DataType]) -> None:
        """Take the types of a file into account.

        Raises
        ------
        DataError
            If it lacks a column, has one that others lack, or types do not go together.
        """
        found = {
            name: of for name, of in types.items() if self.wanted is None or name in self.wanted
        }
        if self.first is None:
            self.first, self.of = file, found
            self._type_of = dict.fromkeys(found, file)
            return
        if found.keys() != self.of.keys():
            lacking, having = (file, self.first) if self.of.keys() - found else (self.first, file)
            raise DataError(
                f"{lacking}: expected the columns {listing(sorted(found.keys() ^ self.of))} as in "
                f"{having}, found none; add them, or leave the file out"
            )
        for name, of in found.items():
            known = self.of[name]
            both = common_type(known, of)
            if both is None:
                raise DataError(
                    f"{self._type_of[name]} to {file}: expected types of {name!r} that go "
                    f"together, found {known} and {of}; write the column with the same types"
                )
            if both != known:
                self.of[name], self._type_of[name] = both, file
