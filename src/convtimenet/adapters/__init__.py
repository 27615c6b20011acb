"""Estimators with the interfaces of other libraries; each needs an extra of the same name."""
