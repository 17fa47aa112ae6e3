"""What is asked of the harness, and which of the other modules does it.

The first request is a Python literal in one line; it says what to do.

- {do: "run", code, stdin, wall_s, cpu_s, output_bytes}: run the program in a fresh process. The reply is a line with
  its status, the limit that ended it and how many bytes it wrote to standard output and to standard error; then these
  bytes. Every process in the sandbox but this one is killed, and further such requests may follow.
- {do: "serve", code, cpu_s}: run the program in a fresh process, which from then on answers requests itself, in lines
  of JSON: {call: name, args}, to which it replies {value} or {raised}, and the questions of tests that assert.
- {do: "test", code, entry_point}: run trusted tests in this process. Their questions go out as {ask, changes, values,
  forget}, with {listen} or {random} where `surroundings` has it, and are answered by {changes, values} or {raised,
  message, line, changes, values}, with {printed} for who listens, or by a question in turn.
  Their verdict is the last reply. Nothing that was written by a model is ever run in this process.

No expected output is ever sent to a program, so there is nothing to be forged: a program can only answer. What tests
that assert do not send it, `stand_ins` says.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports `enum`
import os

from .channel import Channel
from .programs import run


def main() -> None:
    """Do what is asked until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a handler, no signal from within reaches a first process
    channel = Channel()
    channel.write(b"ready\n")
    while request := channel.first_request():
        if request["do"] == "run":
            if run(channel, request) == "the program":
                return
        elif request["do"] == "test":
            from .assertions import run_tests

            channel.send({"verdict": run_tests(channel, request)})
        else:
            from .calls import serve

            child = os.fork()
            if child == 0:
                serve(channel, request)
                os._exit(0)
            channel.close()
            os.waitpid(child, 0)
            return
