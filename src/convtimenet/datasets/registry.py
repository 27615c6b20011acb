"""Facts about the benchmark data sets: shapes, splits, publishers, licences and hashes.

Hashes are SHA-256 of the uncompressed bytes, so they apply to ``name.csv`` and ``name.csv.gz``
alike. Those of the forecasting files are of the files at the stated address (a second hash is of
the same text with other line endings). Those of the archive's `.ts` files are of copies in public
repositories: the archive's own zip files could not be compared, so a fetched file that differs is
reported, not refused.

One file, because it is one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

__all__ = ["REGISTRY", "ClassificationInfo", "DataFile", "DatasetInfo", "ForecastingInfo", "Task"]

Task = Literal["forecasting", "classification"]


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file of a data set.

    Attributes
    ----------
    path : str
        Path in the data home, uncompressed; the same name with ``.gz`` is found too.
    sha256 : tuple of str
        Accepted hashes of the uncompressed bytes; empty if none is known.
    from_publisher : bool
        Whether `sha256` is the hash of the file at the publisher's address.
    npz_sha256 : str or None
        Hash of a copy converted to ``.npz``, of that file's bytes.
    """

    path: str
    sha256: tuple[str, ...] = ()
    from_publisher: bool = False
    npz_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Facts that every data set has.

    Attributes
    ----------
    name : str
        The published name.
    aliases : tuple of str
        Other names of it; case does not matter.
    channels : int
        Number of channels C.
    url : str
        The publisher's address of the CSV file or of the zip file with the `.ts` files.
    licence, citation, note : str
        Licence, publication to cite, and remarks for users.
    files : tuple of DataFile
        One for forecasting; train and test, in this order, for classification.
    """

    task: ClassVar[Task]
    name: str
    aliases: tuple[str, ...] = ()
    channels: int
    url: str
    licence: str
    citation: str
    note: str = ""
    files: tuple[DataFile, ...]

    @property
    def size(self) -> str:
        """The size in words, for display."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ForecastingInfo(DatasetInfo):
    """A table of T rows.

    Attributes
    ----------
    rows : int
        Number of rows T.
    frequency : str
        Time between rows, as `Frequency.parse` reads it.
    split : tuple of int
        Rows of the training, validation and test splits, in this order from the first row; the
        benchmark does not use later rows.
    """

    task: ClassVar[Task] = "forecasting"
    rows: int
    frequency: str
    split: tuple[int, int, int]

    @property
    def size(self) -> str:
        """The size in words, for display."""
        return f"{self.rows:,} rows, step {self.frequency}"


@dataclass(frozen=True, kw_only=True)
class ClassificationInfo(DatasetInfo):
    """Training and test cases with labels.

    Attributes
    ----------
    cases : tuple of int
        Number of training and of test cases.
    length : int
        Time steps of the longest case of both.
    classes : int
        Number of classes.
    """

    task: ClassVar[Task] = "classification"
    cases: tuple[int, int]
    length: int
    classes: int

    @property
    def size(self) -> str:
        """The size in words, for display."""
        train, test = self.cases
        return f"{train:,} + {test:,} cases of {self.length} steps, {self.classes} classes"


_ETT = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/"
_TSLIB = "https://huggingface.co/datasets/thuml/Time-Series-Library/resolve/main/"
_ARCHIVE = "https://timeseriesclassification.com/aeon-toolkit/"
_INFORMER = "Zhou et al., Informer, AAAI 2021, arXiv:2012.07436"
_AUTOFORMER = "CSV as in Wu et al., Autoformer, NeurIPS 2021, arXiv:2106.13008"
_BAGNALL = "Bagnall et al., The UEA multivariate time series classification archive, 2018, "
_TSLIB_LICENCE = "CC BY 4.0 (stated by the CSV's publisher)"


def _ett(name: str, sha256: str) -> ForecastingInfo:
    per_hour = 4 if name.startswith("ETTm") else 1
    return ForecastingInfo(
        name=name,
        channels=7,
        rows=17420 * per_hour,
        frequency="15min" if per_hour == 4 else "1h",
        split=(8640 * per_hour, 2880 * per_hour, 2880 * per_hour),
        url=f"{_ETT}{name}.csv",
        licence="CC BY-ND 4.0",
        citation=_INFORMER,
        files=(DataFile(path=f"forecasting/{name}.csv", sha256=(sha256,), from_publisher=True),),
    )


def _table(
    name: str,
    folder_and_file: str,
    rows: int,
    channels: int,
    frequency: str,
    citation: str,
    *sha256: str,
    aliases: tuple[str, ...],
    note: str = "",
) -> ForecastingInfo:
    train, test = int(0.7 * rows), int(0.2 * rows)
    filename = folder_and_file.rpartition("/")[2]
    return ForecastingInfo(
        name=name,
        aliases=aliases,
        channels=channels,
        rows=rows,
        frequency=frequency,
        split=(train, rows - train - test, test),
        url=_TSLIB + folder_and_file,
        licence=_TSLIB_LICENCE,
        citation=f"{citation}; {_AUTOFORMER}",
        note=note,
        files=(DataFile(path=f"forecasting/{filename}", sha256=sha256, from_publisher=True),),
    )


def _uea(
    name: str,
    aliases: tuple[str, ...],
    cases: tuple[int, int],
    channels: int,
    length: int,
    classes: int,
    *,
    ts: tuple[str, str] | None = None,
    npz: tuple[str, str] | None = None,
    note: str = "",
) -> ClassificationInfo:
    files = tuple(
        DataFile(
            path=f"classification/{name}/{name}_{part}.ts",
            sha256=(ts[i],) if ts else (),
            npz_sha256=npz[i] if npz else None,
        )
        for i, part in enumerate(("TRAIN", "TEST"))
    )
    return ClassificationInfo(
        name=name,
        aliases=aliases,
        cases=cases,
        channels=channels,
        length=length,
        classes=classes,
        url=f"{_ARCHIVE}{name}.zip",
        licence="none stated; the archive asks to be cited",
        citation=f"{_BAGNALL}arXiv:1811.00075",
        note=note,
        files=files,
    )


_SHIFTED = "In the archive's files channel c + 1 is channel c shifted by {} steps, in every case."

_ENTRIES: tuple[DatasetInfo, ...] = (
    _ett("ETTh1", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"),
    _ett("ETTh2", "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b"),
    _ett("ETTm1", "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e"),
    _ett("ETTm2", "db973ca252c6410a30d0469b13d696cf919648d0f3fd588c60f03fdbdbadd1fd"),
    _table(
        "Weather",
        "weather/weather.csv",
        52696,
        21,
        "10min",
        "Max Planck Institute for Biogeochemistry, Jena, weather station, 2020",
        "34ee981d07313e51da2a50bb600072c8ae4a69cb4b0651f4cb93a069d7a2ba63",
        aliases=("jena",),
        note="One time stamp is repeated, 1 h 40 min are missing, and a few values are -9999.",
    ),
    _table(
        "Electricity",
        "electricity/electricity.csv",
        26304,
        321,
        "1h",
        "Trindade, ElectricityLoadDiagrams20112014, UCI, 2015, doi:10.24432/C58C86",
        "7e45845d54c5219bad0ae6bc1b5316cf8ff9cead5d33fa998a5a51c2e4a497ad",
        aliases=("ECL",),
    ),
    _table(
        "Traffic",
        "traffic/traffic.csv",
        17544,
        862,
        "1h",
        "California Department of Transportation, Performance Measurement System (PeMS)",
        "cb06463d56fa17d87f47027cd9389ceae82a69eddee51cdb61480e120dab0b16",
        aliases=(),
    ),
    _table(
        "Exchange",
        "exchange_rate/exchange_rate.csv",
        7588,
        8,
        "1D",
        "Lai et al., LSTNet, SIGIR 2018, arXiv:1703.07015",
        "48b4d9d3d508f5104162e85b9a6042e3557fde11aa9f2944eba8c0d0efc89842",
        "d55e7aa2641009814a18ba3279431b13f6d413b0eab195b9ff21988d8cf94e97",
        aliases=("exchange_rate", "exchange-rate"),
    ),
    _table(
        "ILI",
        "illness/national_illness.csv",
        966,
        7,
        "1W",
        "Centers for Disease Control and Prevention, FluView, influenza-like illness",
        "93601f64d2566dc796ca4305adad8b8560c2db1a1ff04543c3bd813a7263570a",
        "8594cecb98c6f2f9dc014eca11c4d5d1e38ad5ce6ed0592d4abe65b146fce395",
        aliases=("national_illness", "illness"),
    ),
    _uea(
        "ArticularyWordRecognition",
        ("AWR",),
        (275, 300),
        9,
        144,
        25,
        ts=(
            "40c54640f20aa094115a47ad1f4745f5adcc08a65085659a4a042aee1c32a6d5",
            "b4431c96e04310c55b8f50b6f93b0e20cfa019a2d25ab2a5c844e5e0b1375995",
        ),
    ),
    _uea(
        "AtrialFibrillation",
        ("AF",),
        (15, 15),
        2,
        640,
        3,
        ts=(
            "1037b09c03dfc9d9d6af0a32208519ae4697f6c86083d80dd4f57f7fc1f2cdc9",
            "fed5ef4795417dd14513aa39233676d20f9dbc8d016acc71940ef3f74368ade7",
        ),
    ),
    _uea(
        "BasicMotions",
        ("BM",),
        (40, 40),
        6,
        100,
        4,
        ts=(
            "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
            "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
        ),
    ),
    _uea(
        "CharacterTrajectories",
        ("CT",),
        (1422, 1436),
        3,
        182,
        20,
        npz=(
            "a8e60b0eeb0be1e47afcd9d8aea0d870d6ed019ae62588d4921faea8e96bcbba",
            "98f19bb9a1b190a8341c514505b31d4031093934d610a6347bb651d638133dd9",
        ),
        note="Unequal length, 60 to 182; in 39 cases the channels end at different points.",
    ),
    _uea(
        "Cricket",
        ("CR",),
        (108, 72),
        6,
        1197,
        12,
        npz=(
            "ca8c672b3e205d3986ebb997ad1d5724188ec606b7df6845a3f222ebd1a7b0f8",
            "fb6fcc4278ad17250b5f54b4b90d920ee243e4e29716fa34f6b74bb910423dae",
        ),
    ),
    _uea(
        "DuckDuckGeese",
        ("DDG",),
        (50, 50),
        1345,
        270,
        5,
        note="The archive's paper states 60 training and 40 test cases.",
    ),
    _uea(
        "ERing",
        ("ER",),
        (30, 270),
        4,
        65,
        6,
        npz=(
            "3da325ee5d7389ebe58e344b6f9f133ce234da91013c274ebf081f1df66c9df2",
            "ca64477ec2eaa261dca70eb21e8e0416575ddac5bee248bf084f9afa25ddc765",
        ),
    ),
    _uea("EthanolConcentration", ("EC",), (261, 263), 3, 1751, 4),
    _uea(
        "Epilepsy",
        ("EP",),
        (137, 138),
        3,
        206,
        4,
        ts=(
            "e2555afb91b2484831bcc66b3b5db3a362ba0697e855cfbb041eac165e371022",
            "e68e220e31a9235fd7da23bbae2e59bd8315a3cc4c2b12f803885235b61b52ac",
        ),
    ),
    _uea(
        "FingerMovements",
        ("FM",),
        (316, 100),
        28,
        50,
        2,
        ts=(
            "5bc49d475659868c69864fa578ce97eeb4eedf80863d0cd1a0043b72c26006fa",
            "3c2587d31d53f80fbd3d287bf1b440f9d1739eb73ec1cf9388282418fb24eb3f",
        ),
        note=_SHIFTED.format(28),
    ),
    _uea(
        "HandMovementDirection",
        ("HMD",),
        (160, 74),
        10,
        400,
        4,
        npz=(
            "0b29aed379faf4393db85058b4d3a9c7f39c713344f6f930c6d27c6e18af1c6b",
            "085fdf668b9d9387882bd17f1d274e08a239a8c662961d03f0ef11beca2f67bc",
        ),
        note="The .npz copy names the classes 0 to 3.",
    ),
    _uea(
        "JapaneseVowels",
        ("JV",),
        (270, 370),
        12,
        29,
        9,
        ts=(
            "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
            "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
        ),
        note="Unequal length, 7 to 29.",
    ),
    _uea("PEMS-SF", ("PEMS",), (267, 173), 963, 144, 7),
    _uea(
        "SelfRegulationSCP1",
        ("SRS1", "SCP1"),
        (268, 293),
        6,
        896,
        2,
        ts=(
            "9678dd74c841163fd50d76c698f5529c13651450d1e7abc13d0bec0ff2451e6d",
            "d55d6ad5ec66daf11740fce3b6f050a391158835346cd2ddae5e822a5246adb9",
        ),
        note=_SHIFTED.format(6),
    ),
    _uea(
        "SelfRegulationSCP2",
        ("SRS2", "SCP2"),
        (200, 180),
        7,
        1152,
        2,
        npz=(
            "fbcedfafe4a333f9330586905f2c8d5171a7e5c6226aa3f886b179a160286df6",
            "1f145fd5a142adb12219ce4907b82cef7352c33203f84a8f40f1da01ba0a8339",
        ),
        note=_SHIFTED.format(7),
    ),
    _uea(
        "StandWalkJump",
        ("SWJ",),
        (12, 15),
        4,
        2500,
        3,
        npz=(
            "32b784cb0da025109afe03bd8acec0ba3e075cc1f5e3cc1e80b7f25051d6f8e2",
            "481d173af79b05d7c0cb15b98fdc9a65edfe885eab0655e13cc092d623aac942",
        ),
        note="The .npz copy names the classes 1 to 3.",
    ),
)

REGISTRY: dict[str, DatasetInfo] = {entry.name: entry for entry in _ENTRIES}
"""Every registered data set by its published name."""
