"""Other people's models on the same problems; each module needs its own libraries."""
