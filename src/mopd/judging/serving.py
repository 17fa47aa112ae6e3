"""The process of `process`: it imports the functions that a configuration names and answers one call after the other.

Calls run in its main thread, where functions may set alarms. It ends with the process that began it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from mopd.core.errors import MopdError
from mopd.core.streams import lasting_streams
from mopd.judging.importing import Entry, import_entry
from mopd.judging.outcomes import Answer, Failure, Log, json_value, listed, text_of
from mopd.judging.signatures import RewardFunction, accepted_arguments


def imported(entries: Sequence[Entry], folder: str | None) -> list[RewardFunction] | Failure:
    """The functions of all entries. Never raises."""
    try:
        functions = [import_entry(entry, folder) for entry in entries]
        if any(accepted_arguments(function, {"trainer_state": None}) for function in functions):
            from transformers import TrainerState  # noqa: F401  (to import it is not a call's time)
        return functions
    except (Exception, SystemExit) as error:
        said = error.got if isinstance(error, MopdError) else text_of(error)
        return Failure("could not be imported in its process", said)


def answer(function: RewardFunction, arguments: dict[str, Any]) -> Answer:
    """What comes of one call, as it can be sent. Never raises, whatever the function does."""
    log = Log()
    given = {"log_metric": log.metric, "log_extra": log.column}
    found: Any
    try:
        found = function(**arguments | {name: given[name] for name in given if name in arguments})
    except BaseException as error:  # SystemExit too: whatever it raises is counted, and the run goes on
        found = Failure(f"raised {type(error).__name__}", text_of(error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm that it left is not the next call's
    columns = {name: [json_value(value) for value in values] for name, values in log.columns.items()}
    return Answer(listed(found), log.metrics, columns)


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent, also in the middle of a call of Python code."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Answer until the connection closes."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    with lasting_streams():  # what functions print may have no reader any more, and is no error of theirs
        functions = imported(*connection.recv())
        connection.send(Answer(functions if isinstance(functions, Failure) else None))
        while not isinstance(functions, Failure):
            try:
                index, arguments = connection.recv()
            except EOFError:
                break
            found = answer(functions[index], arguments)
            sys.stdout.flush()  # what it printed is seen while the run goes on, and stays where the process is killed
            connection.send(found)
    os._exit(0)  # whatever threads functions have left running


if __name__ == "__main__":
    main()
