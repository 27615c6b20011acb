"""The modules of ``benchmarks/speed/speed.py``, in the order they are used.

cases -> contestants, peers, fits -> measure (work, machine) -> scaling -> page
"""
