"""Estimators in the form of other libraries, each behind an extra of that library's name."""
