"""Hidden values by the network that comes with the package: gaps filled, anomalies found."""
