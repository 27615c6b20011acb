"""Embeddings of cases: what the last linear map of a fitted model reads, as a transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags

__all__ = ["CaseEmbeddings"]


class CaseEmbeddings(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The part of the classifier and the regressor that makes them transformers of scikit-learn."""

    fused_: Any
    _network_outputs: Any

    def transform(self, X: Any) -> np.ndarray:
        """Embeddings of cases, (n, features) float32: of a trained network the pooled tokens that
        its head reads (d_model numbers), of a model in closed form (quality="fast",
        init_from="pretrained") its features, of several networks those of all side by side.

        A case has the same embedding in any batch and with any padding, but for rounding.

        Parameters
        ----------
        X
            Cases, as for `predict`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        DataError
            As `predict`.
        """
        return self._network_outputs(X, lambda *inputs: self.fused_.embed(*inputs))

    @property
    def _n_features_out(self) -> int:
        return self.fused_.embedded

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = []  # float32, as the network computes
        return tags
