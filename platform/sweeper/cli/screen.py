"""Where the commands write."""

import sys

from rich.console import Console

PLAIN_WIDTH = 160
out = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
err = Console(stderr=True, highlight=False)
