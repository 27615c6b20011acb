"""A model as a folder of files."""
