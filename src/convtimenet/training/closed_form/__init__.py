"""Weights in closed form: the linear stream's map and the linear map of random patches."""
