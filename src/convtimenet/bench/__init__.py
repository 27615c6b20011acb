"""Models measured on the same data under one protocol: a matrix of cells, one JSON line a cell."""
