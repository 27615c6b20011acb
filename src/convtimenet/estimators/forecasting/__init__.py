"""Forecasting: tables in, forecasts, intervals, backtests and scores out."""
