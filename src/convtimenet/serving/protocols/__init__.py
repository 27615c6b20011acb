"""One module per protocol: what a request means, and how its answer is written."""
