"""The command line: `mopd --help` lists its commands.

`words` says which commands there are and reads a command line; `commands` does what it says. May import: everything. A
new command: `words` adds it, `commands` does it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from mopd.cli.words import check_words, parse
from mopd.core.errors import ConfigError, MopdError
from mopd.core.files import advice
from mopd.core.streams import lasting_streams
from mopd.parallel.telling import may_tell


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 1 for a finding, 2 where the user can mend something, 130 when interrupted.

    A finding is junk that scores, graders that fail, numbers that are not finite. Whether somebody reads what is shown
    changes nothing of it: work is done to its end behind `| head` and without a terminal.
    """
    options = parse(arguments)
    with lasting_streams() as output:
        status = _status_of(options)
        output.flush()
        if output.lost is not None:
            _tell(
                ConfigError(
                    "what a command prints can be written",
                    f"output was lost: {output.lost.strerror}",
                    advice(output.lost),
                )
            )
        return status if output.lost is None else max(status, ConfigError.exit_status)


def _status_of(options: argparse.Namespace) -> int:
    try:
        check_words(options)
        return int(options.command(options) or 0)
    except MopdError as error:
        _tell(error)
        return error.exit_status
    except KeyboardInterrupt:
        if may_tell():
            text = f"interrupted; {options.after_interrupt}"
            Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
        return 130


def _tell(error: MopdError) -> None:
    if not may_tell():
        return
    Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
