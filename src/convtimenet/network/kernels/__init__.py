"""Fused CPU kernels: they know tensors and numbers, no module above them."""
