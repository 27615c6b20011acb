"""Benchmarks: models measured on the same data under one protocol, as a matrix of cells."""
