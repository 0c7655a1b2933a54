"""`winvm` and `python -m harness`: maps every outcome to an exit code; no error is shown as a traceback."""

from __future__ import annotations

import os
import signal
import sys

from harness.host import interrupts


def main() -> None:
    """Runs the command line and exits the process."""
    # A stream that the caller closed (`>&-`) is None, and its number would go to the next file opened.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - open to the end
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    try:
        interrupts.install()  # a cancelled CI job must end its guest
        code = _run()
    except KeyboardInterrupt:  # also while modules are imported
        for number in interrupts.SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        print("winvm: interrupted.", file=sys.stderr)
        code = interrupts.INTERRUPTED
    except BrokenPipeError:
        # The pipe's reader (head, less) has closed it: not an error, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _run() -> int:
    try:
        from harness.commands.dump_page import without_click

        return 0 if without_click(sys.argv[1:]) else _command_line()
    except BrokenPipeError:
        raise
    except Exception as error:  # every error is printed as one paragraph
        from harness.display.terminal import paragraph
        from harness.display.unexpected import as_winvm_error, interrupted

        if interrupted(error):
            raise KeyboardInterrupt from error
        shown = as_winvm_error(error)
        print(paragraph(shown), file=sys.stderr)
        return shown.exit_code


def _command_line() -> int:
    import click

    from harness.cli import winvm

    try:
        code = winvm.main(standalone_mode=False)
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return 2
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
