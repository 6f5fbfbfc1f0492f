"""What makes the tuned tile sizes that come with the package; to measure specs there is ``gsa bench``."""
