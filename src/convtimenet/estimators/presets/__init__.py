"""Hyper-parameters: the paper's, per data set, and defaults derived from other data."""
