"""A saved forecaster as a model of MLflow, for `load.py`: the same `predict`, in MLflow's server.

python benchmarks/serving/mlflow_model.py MODEL TO      # in an environment that has MLflow
"""

import sys
from typing import Any

import mlflow  # pyright: ignore[reportMissingImports]
from mlflow.models import set_model  # pyright: ignore[reportMissingImports]

from convtimenet import ConvTimeNetForecaster


class Forecaster(mlflow.pyfunc.PythonModel):
    """Answers a table, as records or CSV, with its forecast."""

    def load_context(self, context: Any) -> None:
        self.model = ConvTimeNetForecaster.load(context.artifacts["model"]).set_params(verbose=0)

    def predict(self, context, model_input, params=None):  # MLflow makes schemas of type hints
        return self.model.predict(model_input)


set_model(Forecaster())
if __name__ == "__main__":
    mlflow.pyfunc.save_model(
        sys.argv[2], python_model=__file__, artifacts={"model": sys.argv[1]}, pip_requirements=[]
    )
