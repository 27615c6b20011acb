"""Pictures of networks and explanations (`pictures`), and the same as plots (`interactive`)."""
