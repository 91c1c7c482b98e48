"""The command `visavis`, with the extra `visavis[cli]`; the library does not import it."""

from __future__ import annotations

import sys

EXTRA = ("click", "rich", "typer")
INTERRUPTED = 130
MISSING = 'visavis: the command needs rich and typer; run: pip install "visavis[cli]"\n'


def main() -> None:
    """Run the command; without the extra, say how to install it and exit with 2."""
    try:
        from visavis.command.app import run
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        sys.stderr.write(MISSING)
        sys.exit(2)
    sys.exit(run())
