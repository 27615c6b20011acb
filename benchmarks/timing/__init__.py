"""The parts of ``benchmarks/speed.py``, one file each, in the order they are used.

cases -> contestants, peers, fits -> measure (work, machine) -> scaling -> page
"""
