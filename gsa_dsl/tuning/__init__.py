"""The auto-tuner: which tile sizes and launches suit a spec on the GPU at hand, found by measuring, kept in a file.

``space`` says what may be chosen, ``prune`` drops without a GPU what cannot run, ``worker`` and ``measure`` try the
rest in child processes, ``search`` decides what to try next, ``store`` keeps what was found, ``lookup`` finds it again.
"""
