"""Estimators in the form that other libraries expect, each behind an extra of that library's name."""
