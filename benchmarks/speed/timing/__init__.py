"""The parts of ``benchmarks/speed/speed.py``, one file each, in the order they are used.

cases -> contestants, peers, fits -> measure (work, machine) -> scaling -> page
"""
