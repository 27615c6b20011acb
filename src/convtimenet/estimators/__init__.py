"""Estimators: fit, predict, score, save and load."""
