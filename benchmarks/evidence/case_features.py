"""Which features of cases: random patches, tokens of the package's weights, both, or moments.

    python benchmarks/evidence/case_features.py --json benchmarks/results/case-features.json

Training splits only: ten cases of each class are drawn from a set's training cases (five where a
class has fewer than 15), up to 200 others are held out; five draws. A ridge with the penalty of the
smallest leave-one-out error, as in `convtimenet.training.closed_form.patches`. The test splits are
not read. docs/design/pretrained.md quotes the result.
"""

from __future__ import annotations

import numpy as np
import torch
from record import start_record, write_record

from convtimenet.config import ModelConfig
from convtimenet.data.labelled.cases import Cases
from convtimenet.data.windows import Scaler, pad_cases
from convtimenet.datasets import load_classification
from convtimenet.network.reconstruction.features import PretrainedFeatures
from convtimenet.network.reconstruction.weights import load_pretrained
from convtimenet.training.closed_form.patches import PENALTIES

SETS = (
    *("ArticularyWordRecognition", "CharacterTrajectories", "Cricket", "Epilepsy"),
    *("HandMovementDirection", "JapaneseVowels", "SelfRegulationSCP1"),
)
SHARES = {
    "random patches": (1.0, 0.0, 0.0),
    "tokens": (0.0, 1.0, 0.0),
    "both": (0.5, 0.5, 0.0),
    "random patches, moments": (0.8, 0.0, 0.2),
    "both, moments": (0.4, 0.4, 0.2),
}
"""Of random patches, tokens and moments in the variance of all features."""
DRAWS, HELD_OUT, BATCH = 5, 200, 32


def main() -> None:
    """Measure and write."""
    path = start_record(__doc__)
    found = {}
    for name in SETS:
        train, _ = load_classification(name)
        scores = [accuracies(*drawn(train, seed), seed) for seed in range(DRAWS)]
        found[name] = {kind: [one[kind] for one in scores] for kind in SHARES}
        print(name, {kind: round(100 * np.mean(own), 1) for kind, own in found[name].items()})
    means = {kind: float(np.mean([found[n][kind] for n in SETS])) for kind in SHARES}
    write_record(path, mean=means, sets=found)


def drawn(train: Cases, seed: int) -> tuple[Cases, int]:
    """Cases, those with labels first, and the number of these."""
    labels = train.labels
    assert labels is not None
    classes, counts = np.unique(labels, return_counts=True)
    each = 10 if counts.min() >= 15 else 5
    order = np.random.default_rng(seed).permutation(len(labels))
    some = np.concatenate([order[labels[order] == one][:each] for one in classes])
    others = np.setdiff1d(order, some, assume_unique=True)[:HELD_OUT]
    return train.subset(np.concatenate([some, others])), len(some)


def accuracies(cases: Cases, n: int, seed: int) -> dict[str, float]:
    """Accuracy on the held-out cases with each kind of features."""
    values, C, L = cases.values, *cases.values.shape[1:]
    x = torch.from_numpy(pad_cases(values, Scaler.minus_one_to_one(values[:n]), L))
    known = x.isfinite()
    torch.manual_seed(seed)
    config = ModelConfig.classification(
        channels=C, context_length=L, n_classes=2, random_patches=24, kernel_sizes=(), masks=True
    )
    module = PretrainedFeatures(config)
    load_pretrained(module.network)
    x = x.nan_to_num()
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        some = torch.randperm(n, generator=numbers)[:32]
        module.draw_levels(x[some], known[some], numbers)
        features = torch.cat(
            [module(x[at], known[at]) for at in torch.arange(len(x)).split(BATCH)]
        ).numpy()
    size = module.patches.outputs
    there = np.where(known, x, np.nan)
    moments = [np.nanmean(there, -1), np.nanstd(there, -1), np.nanmin(there, -1)]
    moments += [np.nanmax(there, -1), np.log(cases.lengths)[:, None]]
    parts = features[:, :size], features[:, size:], np.concatenate(moments, 1)
    products = np.stack([kernel(part, n) for part in parts])
    assert cases.labels is not None
    classes, y = np.unique(cases.labels, return_inverse=True)
    found = {}
    for kind, shares in SHARES.items():
        product = np.tensordot(shares, products, axes=1)
        answers = ridge(product, 2.0 * np.eye(len(classes))[y[:n]] - 1, n)
        found[kind] = float((answers.argmax(1) == y[n:]).mean())
    return found


def kernel(features: np.ndarray, n: int) -> np.ndarray:
    """Scalar products (m, n) of all cases with the first n, whose features are standardised and
    have a variance of 1 together."""
    centre, spread = features[:n].mean(0, dtype=float), features[:n].std(0, dtype=float)
    varies = spread > 1e-6 * np.maximum(np.abs(centre), 1e-6)
    standard = (features - centre)[:, varies] / spread[varies]
    return standard @ standard[:n].T / max(1, varies.sum())


def ridge(product: np.ndarray, targets: np.ndarray, n: int) -> np.ndarray:
    """Answers (m - n, K) for all but the first n cases."""
    mean = targets.mean(0)
    values, vectors = np.linalg.eigh(product[:n])
    turned = vectors.T @ (targets - mean)
    best = np.inf, np.zeros(())
    for penalty in PENALTIES / 100:
        shrunk = values / (values + penalty)
        off = targets - mean - vectors @ (shrunk[:, None] * turned)
        own = (vectors**2) @ shrunk + 1 / n
        error = np.square(off / (1 - own)[:, None]).mean()
        if error < best[0]:
            best = error, vectors @ (turned / (values + penalty)[:, None])
    return product[n:] @ best[1] + mean


if __name__ == "__main__":
    main()
