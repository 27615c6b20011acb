"""The estimators as members of other projects' families, one module for each project."""
