"""``python -m gsa_dsl`` is the command ``gsa``."""

import sys

from gsa_dsl.cli import main

if __name__ == "__main__":
    sys.exit(main())
