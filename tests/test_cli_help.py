"""What the command line tells those who do not know it yet: help, mistakes, completion."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convtimenet.cli.main import main
from convtimenet.cli.parser import names
from convtimenet.wording import flag

COMMANDS = ["forecast", "classify", "regress", "tune", "evaluate", "export", "datasets"]
COMMANDS += ["impute", "detect", "completion"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("sales.csv").write_text(
        "date,a,b\n" + "".join(f"2024-01-{i:02d},{i / 3},{i % 7}\n" for i in range(1, 32))
    )


def help_of(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def mistake(capsys, *arguments: str) -> str:
    before = sorted(Path().iterdir())
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("convtimenet: ")
    assert err.count("\n") == 1
    assert sorted(Path().iterdir()) == before
    return err.strip()


class TestHelp:
    @pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
    def test_fits_eighty_columns(self, command, capsys):
        assert max(map(len, help_of(capsys, *command).splitlines())) <= 80

    @pytest.mark.parametrize("command", COMMANDS)
    def test_teaches_by_example_and_in_words(self, command, capsys):
        shown = help_of(capsys, command)
        assert f"Examples:\n  convtimenet {command} " in shown
        assert not re.search(r"\btype: |Literal\[|Optional\[|list\[|\| null|None\b", shown)
        assert "default: null" not in shown

    def test_says_what_to_write(self, capsys):
        shown = help_of(capsys, "forecast")
        for said in ("--h N ", "--out FILE ", "--save FOLDER ", "--target_cols COLUMNS\n"):
            assert said in shown
        assert "--model.kernel_sizes [N,...]" in shown
        assert "--training.precision {fp32,bf16,int8}" in shown

    @pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["-h"]])
    def test_without_a_command(self, arguments, capsys):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert "convtimenet forecast sales.csv --h 24" in shown
        assert all(f"    {command} " in shown for command in COMMANDS)

    def test_of_a_command_by_a_word(self, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["help", "forecast"])
        assert ended.value.code == 0
        assert "usage: convtimenet forecast data" in capsys.readouterr().out


SEE = r" \(see: convtimenet forecast --help\)$"
SALES = ["forecast", "sales.csv"]
TUNE = ["tune", "forecast", "sales.csv"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["forcast"], "there is no command 'forcast'; did you mean forecast?"),
        (["dataset"], "there is no command 'dataset'; did you mean datasets?"),
        (["xyzzy"], "'xyzzy'; expected one of forecast, classify, "),
        (["--verbose"], "no flag --verbose before a command; expected one of forecast, "),
        ([*SALES, "--horizon=3"], "forecast has no flag --horizon; did you mean --h?"),
        ([*SALES, "--horizon", "3"], "forecast has no flag --horizon; did you mean --h?"),
        ([*SALES, "--hh", "7"], "forecast has no flag --hh; did you mean --h?"),
        ([*SALES, "--epochs=3"], "did you mean --training.epochs?"),
        ([*SALES, "--n-epochs", "3"], "did you mean --training.epochs?"),
        ([*SALES, "--learning-rate", "3"], "did you mean --training.lr?"),
        ([*SALES, "--training.learning_rate", "3"], "did you mean --training.lr?"),
        ([*SALES, "--output=x.csv"], "did you mean --out?"),
        ([*SALES, "--test_frac=0.1"], "did you mean --test_fraction?"),
        ([*SALES, "--tme_col=date"], "did you mean --time_col?"),
        ([*SALES, "--lookback=3"], "did you mean --input_size?"),
        ([*SALES, "--colour=red"], "forecast has no flag --colour; leave it out"),
        (["classify", "a.ts", "--horizon=3"], "classify has no flag --horizon; leave it out"),
        ([*SALES, "more.csv"], "forecast takes no further arguments, found 'more.csv'"),
        ([*SALES, "-h3"], "-h shows help and takes no value, found '3'; did you mean --h 3?"),
        ([*SALES, "--quiet=yes"], "--quiet takes no value, found 'yes'; write --quiet alone"),
        ([*SALES, "--h"], "--h needs a value, a whole number; found none"),
        ([*SALES, "--out"], "--out needs a value, a file; found none"),
        ([*SALES, "--level"], "--level needs a value, numbers, as 80 95; found none"),
        ([*SALES, "--h", "ten"], "--h: expected a whole number, found ten"),
        ([*SALES, "--h=1.5"], "--h: expected a whole number, found 1.5"),
        ([*SALES, "--h="], "--h: expected a whole number, found nothing"),
        ([*SALES, "--test_fraction=a"], "--test_fraction: expected a number, found a"),
        ([*SALES, "--level", "80,95"], "--level: expected numbers, as 80 95, found 80,95"),
        ([*SALES, "--target_cols=[a"], "--target_cols: expected column names, as a,b, found"),
        (
            [*SALES, "--training.refit=maybe"],
            "refit: expected true or false or 'continue', found maybe",
        ),
        ([*SALES, "--training.precision=fp33"], "'int8', found fp33; did you mean fp32?"),
        ([*SALES, "--training.loss=mape"], "'huber' or null, found mape"),
        ([*SALES, "--training.epochs=x"], "--training.epochs: expected a whole number, found x"),
        ([*SALES, "--model.kernel_sizes=3,5"], "expected numbers, as [9,11,15], found 3,5"),
        ([*SALES, "--training.batch_size=0"], "batch_size must be a whole number of at least 1"),
        ([*SALES, "--seed=-1"], "seed must be a whole number of at least 0"),
        (
            ["bench", "report", "m.toml", "--dry_run", "--jobs=2"],
            "bench report has no use for --jobs, --dry_run; leave it out",
        ),
        (["bench", "run", "m.toml", "--report=x"], "bench run has no use for --report; leave"),
        (["predict", "m", "x.parquet", "--models=m"], "predict has no flag --models; leave it out"),
        (["datasets", "lst"], "expected one of 'list', 'fetch', 'verify', found lst; did you mean"),
        (["export"], "export needs model (folder of a saved model"),
        (["export", "m"], "export needs --to (folder of the export"),
        (["completion", "fish"], "shell: expected one of 'bash', 'zsh', 'tcsh', found fish"),
        (["forecast", "sale.csv"], "sale.csv: there is no such file; did you mean sales.csv?"),
        (["forecast", "nowhere.csv"], "nowhere.csv: there is no such file; check the path"),
        ([*SALES, "--future=no.csv"], "no.csv: there is no such file"),
        (["classify", "no.ts"], "no.ts: there is no such file"),
        ([*SALES, "--load=no"], "there is no model folder at no"),
        (["export", "no", "--to=x"], "there is no model folder at no"),
        (["evaluate", "ETTh9"], "found 'ETTh9'; did you mean one of: "),
        (["tune", "forcast", "sales.csv"], "'regress', found forcast; did you mean forecast?"),
        (["tune", "forecast"], "tune needs data (table or labelled cases"),
        ([*TUNE, "--n_trials=3"], "tune has no flag --n_trials; did you mean --trials?"),
        ([*TUNE, "--space", "a=1"], "tune has no flag --space; did you mean --search?"),
        ([*TUNE, "--trials=0"], "--trials must be at least 1, found 0"),
        ([*TUNE, "--time_limit=-5"], "--time_limit must be at least 0, found -5"),
        ([*TUNE, "--label_col=a"], "tune forecast has no use for --label_col; leave it out"),
        ([*TUNE, "more.csv"], "more.csv: there is no such file"),
        ([*TUNE, "sales.csv"], "tune forecast has no use for a second file, sales.csv"),
        (["tune", "classify", "sales.csv", "--h=3"], "tune classify has no use for --h"),
        ([*TUNE, "--search", "training.lr"], "--search: expected NAME=VALUES, as training.lr="),
        (
            [*TUNE, "--search", "training.lr=a..b"],
            "numbers as LOW..HIGH, found 'a..b' for",
        ),
        ([*TUNE, "--out=sales.csv"], "--out must be a folder, sales.csv is a file"),
        ([*TUNE, "--study=no/s.log"], "--study: the folder no does not exist"),
    ],
)
def test_a_mistake_is_answered_with_what_was_meant(arguments, said, capsys):
    assert said in mistake(capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "--config: there is no such file .*no.yaml; check the path"),
        ("horizon: 3\n", "--config: forecast has no setting 'horizon'; did you mean h?"),
        ("training: {n_epochs: 3}\n", "no setting 'training.n_epochs'; did you mean training.ep"),
        ("colour: red\n", "no setting 'colour'; leave it out"),
        ("h: ten\n", "--h: expected a whole number, found ten"),
        ("h: [3\n", "expected settings as 'name: value' in YAML or JSON, found: while parsing"),
        ("just text\n", "expected settings as 'name: value' in YAML or JSON, found: just text"),
    ],
)
def test_mistakes_in_a_file_of_flags(text, said, capsys):
    if text is not None:
        Path("no.yaml").write_text(text)
    found = mistake(capsys, *SALES, "--config=no.yaml")
    assert re.search(said.replace("?", r"\?"), found)
    assert re.search(SEE, found)


def test_a_folder_is_no_file_of_flags(capsys):
    assert "--config: expected a file, found the folder" in mistake(capsys, *SALES, "--config=.")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", ["a"]),
        ("a, b", ["a", "b"]),
        ("[a,b]", ["a", "b"]),
        ('["a,b", c]', ["a,b", "c"]),
        ("[1,2]", ["1", "2"]),
        ("[010,no]", ["010", "no"]),
        ('"price, net", b', ["price, net", "b"]),
        ('["price, net", b]', ["price, net", "b"]),
        ('5" rack,b', ['5" rack', "b"]),
        (["a", "b"], ["a", "b"]),
        (None, None),
        (True, True),
    ],
)
def test_names_of_columns(given, expected):
    assert names(given) == expected


def test_flags_in_messages_are_read_as_they_are_written():
    odd = ["Store ID", "price, net", '"19 inch', 'a "b"', "$x", "[kW]", "", "it's", "010"]
    for some in (odd, *([one] for one in odd)):
        name, value = shlex.split(flag("target_cols", some))
        assert (name, names(value)) == ("--target_cols", some)
    assert shlex.split(flag("id_col", "price, net")) == ["--id_col", "price, net"]
    assert flag("id_col", "-x") == "--id_col=-x"
    assert flag("target_cols", ["a", "b"]) == "--target_cols a,b"


def test_a_name_cut_at_its_comma_is_shown_in_quotes(capsys):
    rows = [f"2024-01-{i + 1:02},{i},{i}" for i in range(9)]
    Path("net.csv").write_text("\n".join(['date,"price, net",b', *rows]))
    assert main(["forecast", "net.csv", "--target_cols", "price, net"]) == 2
    said = "no column 'price'; did you mean 'price, net'? On the command line: '\"price, net\"' ("
    assert said in capsys.readouterr().err


def test_a_file_of_flags_that_the_command_itself_wrote(capsys):
    flags = ["--target_cols=a", "--calendar=auto", "--h=2", "--training.epochs=1", "--quiet"]
    flags += ["--model.d_model=8", "--model.d_ff=16", "--model.kernel_sizes=[3]", "--device=cpu"]
    with pytest.raises(SystemExit) as ended:
        main([*SALES, *flags, "--print_config"])
    assert ended.value.code == 0
    Path("flags.yaml").write_text(capsys.readouterr().out)
    assert main([*SALES, *flags, "--out=flags.csv"]) == 0
    assert main(["forecast", "--config=flags.yaml", "--out=file.csv"]) == 0
    assert Path("file.csv").read_bytes() == Path("flags.csv").read_bytes()
    shown = capsys.readouterr().out
    assert "forecast of 2 steps: file.csv" in shown
    assert re.search(r"^done in 0:\d\d$", shown, re.MULTILINE)


def started(*arguments: str, **settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "convtimenet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **settings)


def test_as_a_module():
    done = started("--version")
    assert (done.returncode, done.stderr) == (0, "")
    done = started("forecast", "nowhere.csv")
    assert done.returncode == 2
    assert done.stderr == "convtimenet: nowhere.csv: there is no such file; check the path\n"


LOADED = """
import json, sys
from convtimenet.cli.main import main
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 2
    print(arguments, sorted({"torch", "sklearn", "scipy", "pandas", "narwhals"} & set(sys.modules)))
"""


def test_what_can_be_said_at_once_is_said_before_seconds_of_imports():
    """In one process: what a mistake imports would be there after all later ones, too."""
    mistakes = [
        ["forecast", "nowhere.csv"],
        ["forecast", "sales.csv", "--future=nowhere.csv"],
        ["forecast", "sales.csv", "--load=nowhere"],
        ["forecast", "sales.csv", "--horizon=3"],
        ["forecast", "sales.csv", "--training.lr=-1"],
        ["forecast", "sales.csv", "--out=nowhere/x.csv"],
        ["classify", "nowhere.ts"],
        ["regress", "sales.csv", "nowhere.ts"],
        ["export", "nowhere", "--to=x"],
        ["evaluate", "ETTh9"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(mistakes)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{arguments} []" for arguments in mistakes]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fore", {"forecast"}),
        ("forecast --tr", {"--training.lr", "--training.epochs"}),
        ("forecast sa", {"sales.csv"}),
        ("forecast --training.precision ", {"fp32", "bf16", "int8"}),
        ("datasets v", {"verify"}),
    ],
)
def test_completion(words, expected, capsys):
    assert main(["completion", "bash"]) == 0
    Path("complete.sh").write_text(capsys.readouterr().out)
    script = (
        'source complete.sh; IFS=" " read -ra COMP_WORDS <<< "$1"; '
        '[[ "$1" == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); '
        '_shtab_convtimenet; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = subprocess.run(
        ["bash", "-c", script, "bash", f"convtimenet {words}"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TERM": "dumb"},
    )
    assert expected <= set(found.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_for_each_shell(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "forecast" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["forecast", "classify", "evaluate"])
def test_per_cents_are_written_once(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert "%%" not in shown
    assert ("%d.%m.%y" in shown) == (command == "forecast")


def test_without_shtab_completion_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'convtimenet[cli]'" in capsys.readouterr().err


def test_a_reader_that_has_had_enough(monkeypatch, capsys):
    def broken(_: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys.stdout, "write", broken)
    out = sys.stdout
    assert main(["completion", "bash"]) == 141
    sys.stdout.close()
    sys.stdout = out


def test_cases_too_say_what_was_done(capsys):
    rng = np.random.default_rng(0)
    np.savez("c.npz", X=rng.normal(size=(20, 1, 20)), y=np.arange(20) % 2)
    flags = ["--model.d_model=8", "--model.d_ff=16", "--model.kernel_sizes=[3]", "--device=cpu"]
    assert main(["classify", "c.npz", *flags, "--training.epochs=1"]) == 0
    out, err = capsys.readouterr()
    assert "classes of 4 cases: c-classes.csv" in out
    assert re.search(r"done in 0:\d\d\n$", out)
    assert err.startswith("training: ")
