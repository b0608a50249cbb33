"""`python -m octvideo` is the `octvideo` command."""

import sys

from octvideo.cli import main

if __name__ == "__main__":
    sys.exit(main())
