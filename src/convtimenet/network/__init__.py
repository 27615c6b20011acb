"""The paper: the network and its parts, and nothing of data or tasks."""
