"""Training of the weights that come with the package, on generated series only."""
