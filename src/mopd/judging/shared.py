"""A judge whose work is shared out over the processes of a run; all get every verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mopd.core.types import Group, Verdict
from mopd.judging.verdicts import Judge, OuterJudge, by_verifiers
from mopd.parallel.ranks import Ranks
from mopd.parallel.sharing import shared_out


class SharedJudge(OuterJudge):
    """Verifiers judge in every rank, each rank some of the groups. Reward functions judge in the first one alone: they
    are given all rollouts at once, which they may compare, and may keep what they like from call to call."""

    def __init__(self, judge: Judge, ranks: Ranks) -> None:
        super().__init__(judge)
        self.ranks = ranks

    def __call__(self, groups: Sequence[Group], step: int) -> tuple[list[Group], dict[str, float]]:
        """What the judge gives, in every rank."""
        if self.judge is not by_verifiers:
            return self.ranks.first(lambda: self.judge(groups, step))
        shares = shared_out([len(group.rollouts) for group in groups], self.ranks.size)
        own, metrics = self.judge([groups[index] for index in shares[self.ranks.rank]], step)
        verdicts: dict[int, tuple[Verdict, ...]] = {}
        for share, of_rank in zip(shares, self.ranks.gather([group.verdicts for group in own]), strict=True):
            verdicts.update(zip(share, of_rank, strict=True))
        return [replace(group, verdicts=verdicts[index]) for index, group in enumerate(groups)], metrics


def shared_judge(judge: Judge, ranks: Ranks) -> Judge:
    """The judge as all ranks have it together; itself where there is one."""
    return judge if ranks.size == 1 else SharedJudge(judge, ranks)
