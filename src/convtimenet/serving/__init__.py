"""``convtimenet serve``: saved models behind HTTP, for clients of this package and of others."""
