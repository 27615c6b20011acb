"""The network that is trained once, on generated series, and forecasts any table."""
