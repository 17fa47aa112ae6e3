"""A run in which no verdict comes is stopped where that is seen first, with the first cause."""

from __future__ import annotations

from collections.abc import Sequence

from mopd.core.errors import VerdictError
from mopd.core.types import Group, Verdict
from mopd.judging.verdicts import Judge, OuterJudge

FAILURES_BEFORE_ANY_VERDICT = 8
"""Failed gradings that stop a run in which no verdict ever came, also where most completions were cut unjudged."""

JUDGINGS_IN_A_ROW = 3
"""Judgings without a verdict that stop a run in which verdicts came before: graders may be away for a step."""


class WatchedJudge(OuterJudge):
    """The judge of a run, which raises VerdictError where it is asked again and again and never gives a verdict.

    A failed grading now and then is a verdict of kind `error`, counted, and the run goes on. Completions that were cut
    are judged by no verifier, and tell nothing of graders.
    """

    def __init__(self, judge: Judge) -> None:
        super().__init__(judge)
        self._has_had_verdict = False
        self._failures: list[Verdict] = []  # since the last verdict
        self._judgings = 0

    def __call__(self, groups: Sequence[Group], step: int) -> tuple[list[Group], dict[str, float]]:
        """What the judge gives. Raises VerdictError."""
        judged, metrics = self.judge(groups, step)
        verdicts = [verdict for group in judged for verdict in group.verdicts]
        asked = [verdict for verdict in verdicts if verdict.kind != "truncated"]
        if any(verdict.kind != "error" for verdict in asked):
            self._has_had_verdict, self._failures, self._judgings = True, [], 0
        elif asked:
            self._failures += asked
            self._judgings += 1
            self._stop_if_hopeless(is_all=len(asked) == len(verdicts))
        return judged, metrics

    def _stop_if_hopeless(self, is_all: bool) -> None:
        if self._has_had_verdict:
            is_hopeless, since = self._judgings >= JUDGINGS_IN_A_ROW, " since the last verdict"
        else:
            is_hopeless, since = is_all or len(self._failures) >= FAILURES_BEFORE_ANY_VERDICT, ""
        if is_hopeless:
            raise VerdictError(
                "graders give verdicts",
                f"no verdict on {len(self._failures)} completions{since}; the first cause: "
                f"{self._failures[0].feedback}",
                "mend that; a run that has a checkpoint then goes on with `mopd train --resume RUN`",
            )
