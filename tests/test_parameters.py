"""Names that do not exist are answered with the ones that are meant."""

import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor
from convtimenet.adapters.cases import ClassifierWrapper, RegressorWrapper
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.errors import ConfigError, ParameterError
from convtimenet.names import meant

WRONG: dict[str, Any] = {"horizon": 12}
ESTIMATORS = [ConvTimeNetForecaster, ConvTimeNetClassifier, ConvTimeNetRegressor]
EVERYWHERE = {
    "epochs": "n_epochs",
    "max_epochs": "n_epochs",
    "max_steps": "n_epochs",
    "nEpochs": "n_epochs",
    "learning_rate": "lr",
    "batchsize": "batch_size",
    "seed": "random_state",
    "randon_state": "random_state",
    "verbosity": "verbose",
    "patience": "training={'patience': ...}",
    "val_size": "training={'validation_fraction': ...}",
    "d_model": "model={'d_model': ...}",
    "hidden_size": "model={'d_model': ...}",
}
FORECASTS = {
    "horizon": "h",
    "prediction_length": "h",
    "pred_len": "h",
    "fh": "h",
    "context_length": "input_size",
    "lookback": "input_size",
    "seq_len": "input_size",
    "target": "target_cols",
    "futr_exog_list": "futr_exog",
    "frequency": "freq",
}
CASES = [(kind, *pair) for kind in ESTIMATORS for pair in EVERYWHERE.items()]
CASES += [(ConvTimeNetForecaster, *pair) for pair in FORECASTS.items()]


@pytest.mark.parametrize(("kind", "wrong", "right"), CASES)
def test_another_word_for_a_parameter(kind, wrong, right):
    said = f"{kind.__name__} has no parameter {wrong!r}; did you mean {right}?"
    for call in (kind, kind().set_params):
        with pytest.raises(ParameterError) as caught:
            call(**{wrong: 3})
        assert str(caught.value) == said


def test_it_is_what_python_users_expect():
    for error in (TypeError, ValueError, ConfigError):
        with pytest.raises(error):
            ConvTimeNetForecaster(**WRONG)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_what_resembles_nothing_is_answered_with_all_there_is(kind):
    with pytest.raises(ParameterError, match=r"'xyzzy'; expected one of batch_size, .*verbose$"):
        kind(xyzzy=1)


def test_a_horizon_is_no_parameter_of_a_classifier():
    with pytest.raises(ParameterError, match="'horizon'; expected one of"):
        ConvTimeNetClassifier(**WRONG)


@pytest.mark.parametrize("given", [(12, 24, "auto"), (1, 2, 3, 4)])
def test_too_many_values_without_names(given):
    with pytest.raises(ParameterError, match=r"too many positional .* by name, as h="):
        ConvTimeNetForecaster(*given)


def test_methods_suggest_the_parameter_too():
    """They raised a bare TypeError."""
    model, wrong = ConvTimeNetForecaster(2), {"levels": [80], "devices": "cpu"}
    said = r"ConvTimeNetForecaster\.predict has no parameter 'levels'; did you mean level\?"
    with pytest.raises(ParameterError, match=said):
        model.predict(None, levels=wrong["levels"])  # type: ignore[call-arg]
    with pytest.raises(ParameterError, match=r"ConvTimeNetRegressor\.load .* did you mean device"):
        ConvTimeNetRegressor.load("model", devices="cpu")  # type: ignore[call-arg]
    with pytest.raises(ParameterError, match=r"Classifier\.fit: missing .*'X'; .* by name, as X="):
        ConvTimeNetClassifier().fit()  # type: ignore[call-arg]
    # their own mistakes stay their own
    with pytest.raises(NotFittedError):
        model.predict(None)
    assert list(inspect.signature(ConvTimeNetForecaster.predict).parameters)[:2] == ["self", "X"]


def test_nested_names_of_scikit_learn():
    with pytest.raises(ParameterError, match=r"did you mean model=\{'d_model': ...\}\?"):
        ConvTimeNetForecaster().set_params(model__d_model=8)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_signature_stays(kind):
    names = list(inspect.signature(kind).parameters)
    assert sorted(names) == kind._get_param_names()
    assert "verbose" in names
    model = kind(n_epochs=3, model={"d_model": 8})
    again: Any = clone(model)
    assert again.get_params() == model.get_params()
    assert pickle.loads(pickle.dumps(model)).get_params() == model.get_params()
    assert model.set_params(n_epochs=4).n_epochs == 4
    with pytest.raises(ValueError, match="did you mean n_epochs"):
        GridSearchCV(model, {"epochs": [1]}, cv=2).fit(np.zeros((8, 1, 30)), np.arange(8) % 2)


def test_an_own_subclass_is_named_and_may_take_anything():
    class Mine(ConvTimeNetForecaster):
        def __init__(self, h=3, *, colour="red"):
            super().__init__(h)
            self.colour = colour

    wrong: dict[str, Any] = {"colur": "blue"}
    with pytest.raises(ParameterError, match="Mine has no parameter 'colur'; did you mean colour"):
        Mine(**wrong)

    class Broken(ConvTimeNetForecaster):
        def __init__(self, h: Any = "3"):
            super().__init__(h + None)

    with pytest.raises(TypeError, match="can only concatenate"):  # its own mistake stays its own
        Broken()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": {"horizon": 3}}, "'horizon'; did you mean the parameter h=... of the estimator"),
        ({"model": {"lr": 3}}, "'lr'; did you mean the parameter lr=... of the estimator"),
        ({"model": {"hidden_size": 3}}, "'hidden_size'; did you mean d_model"),
        ({"model": {"patience": 3}}, r"did you mean training=\{'patience': ...\}"),
        ({"training": {"n_epochs": 3}}, "'n_epochs'; did you mean epochs"),
        ({"training": {"learning_rate": 3}}, "'learning_rate'; did you mean lr"),
        ({"training": {"d_model": 3}}, r"'d_model'; did you mean model=\{'d_model': ...\}"),
        ({"training": {3: 3}}, "no setting 3; expected one of augment, batch_size"),
        ({"model": {"foo": 3}}, "'foo'; expected one of channel_mixing"),
        ({"model": "tiny"}, "model must be a mapping .* found 'tiny'"),
        ({"training": [("lr", 1)]}, "training must be a mapping"),
    ],
)
def test_settings_of_network_and_training(settings, said):
    with pytest.raises(ConfigError, match=said):
        ConvTimeNetForecaster(h=2, **settings).fit(np.sin(np.arange(90.0)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: TrainConfig.from_dict({"learning_rate": 1}), "'learning_rate'; did you mean lr?"),
        (lambda: TrainConfig.from_dict({"n_epochs": 1}), "'n_epochs'; did you mean epochs?"),
        (
            lambda: ModelConfig.forecasting(context_length=9, horizon=2, patch_len=4),
            "'patch_len'; did you mean patch_size?",
        ),
    ],
)
def test_settings_given_as_a_dict(call, said):
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        call()


@pytest.mark.parametrize("config", [ModelConfig, TrainConfig])
def test_every_setting_is_found_by_its_own_name_in_other_letters(config):
    names = list(config.__dataclass_fields__)
    for name in names:
        assert meant(name.upper().replace("_", "-"), names) == name
        assert meant(f"{name}x", names) == name or len(name) < 3


def test_an_earlier_list_wins():
    assert meant("epochs", ["n_epochs"], ["training.epochs"]) == "n_epochs"
    assert meant("epochs", ["training.epochs"], ["n_epochs"]) == "training.epochs"
    assert meant("colour", ["h"], ["lr"]) is None


@pytest.mark.parametrize("wrapper", [ClassifierWrapper, RegressorWrapper])
def test_wrappers_for_other_libraries_take_the_same_parameters(wrapper):
    own = dict(inspect.signature(wrapper.wrapped).parameters)
    found = dict(inspect.signature(wrapper).parameters)
    for name, default in {"verbose": 0, "n_jobs": 1}.items():  # as those libraries expect
        assert found[name] == own[name].replace(default=default)
        own[name] = found[name]
    assert found == own
    made = wrapper(**dict.fromkeys(found, "given"))
    assert {name: vars(made)[name] for name in found} == dict.fromkeys(found, "given")
