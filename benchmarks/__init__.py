"""Timings of compiled specs against PyTorch's dense attention on the same inputs: ``python -m benchmarks --help``."""
