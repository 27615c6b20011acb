"""A fit and its test, beside published numbers."""
