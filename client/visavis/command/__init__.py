"""The command `visavis`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; without the extra, say how to install it."""
    sys.exit('visavis: the command needs more packages; install them: pip install "visavis[cli]"')
