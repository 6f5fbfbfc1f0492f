"""Measuring compiled attention beside its rivals: checked, then timed; records, and the tables and plots of them."""
