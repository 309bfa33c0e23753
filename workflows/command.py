"""What every command has in common: arguments, help that teaches, errors for people, exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from hsta.errors import InputError


def main(
    name: str,
    doc: str,
    run: Callable,
    arguments: list[str] | None = None,
    *,
    flags: Mapping[str, tuple[str, str]] | None = None,
) -> int:
    """Parse ``--config`` and ``--set``, load the configuration and run the command.

    Args:
        flags: short forms of settings that are true or false: the setting and its help, by option (``--force``).

    Returns:
        the exit status: what ``run`` returns, or 2 after bad input, with the message on standard error, or 130 after Ctrl-C.
    """
    summary, _, details = doc.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=f"python -m workflows.{name}",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML settings, path or URL; see configs/")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="a.b=c",
        help="replace one setting; may be repeated",
    )
    for option, (setting, meaning) in (flags or {}).items():
        parser.add_argument(
            option, action="append_const", const=f"{setting}=true", dest="assignments", help=f"{meaning} ({setting})"
        )
    options = parser.parse_args(arguments)

    def action() -> int:
        from workflows.config import load

        return run(load(options.config, options.assignments))

    return answer(action)


def answer(action: Callable[[], int]) -> int:
    """Run ``action`` and give its exit status; bad input and Ctrl-C become a message for people, and 2 and 130."""
    try:
        return action()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr, flush=True)
        return 130
