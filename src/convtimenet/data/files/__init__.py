"""Kinds of files that hold a user's data."""
