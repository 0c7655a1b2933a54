"""`winvm` and `python -m harness`: maps every outcome to an exit code; nobody sees a traceback."""

from __future__ import annotations

import os
import sys

from harness.errors import WinvmError


def main() -> None:
    """Runs the command line and exits the process."""
    import click

    from harness.cli import winvm

    try:
        code = winvm.main(standalone_mode=False)
    except WinvmError as error:
        report(error)
        code = error.exit_code
    except click.exceptions.Abort:
        print("winvm: interrupted.", file=sys.stderr)
        code = 130
    except KeyboardInterrupt:
        print("winvm: interrupted.", file=sys.stderr)
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except BrokenPipeError:
        # The reader of a pipe (head, less) has gone: not an error, and nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def report(error: WinvmError) -> None:
    """Prints an error as one paragraph, its evidence below it."""
    from harness.terminal import paragraph

    print(paragraph(error), file=sys.stderr)


if __name__ == "__main__":
    main()
