"""Forecasts of millions of series in Parquet files: in parts, on one machine or on many."""
