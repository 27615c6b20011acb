"""Forecasting: fit and predict tables, intervals, backtests, scores."""
