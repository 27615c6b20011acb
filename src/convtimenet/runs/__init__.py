"""Runs: fit a model and score it on a test split, with published scores for comparison."""
