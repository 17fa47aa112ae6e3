"""Which peers a rollout is shown. Pure: a function of the group, the recipe and the seed.

Rules (docs/algorithm.md, section 1): a rollout is never its own peer; peers have distinct, non-empty texts; the
rollout's own text is shown only when no other candidate exists; a rollout whose grader failed is no peer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from mopd.config import ContextConfig, PeersConfig
from mopd.core.seeding import derive_rng
from mopd.core.thinking import strip_thinking
from mopd.core.types import Group, Peers


def choose_peers(
    group: Group,
    rollout_index: int,
    recipe: PeersConfig | None = None,
    seed: int = 0,
    clean: Callable[[str], str] = str.strip,
) -> Peers:
    """The peers of one rollout of a verified group: up to `recipe.successes` and `recipe.failures` of them.

    `clean` maps a completion's text to what would be shown (for example `strip_thinking`); texts are compared
    after it. The choice depends on (seed, step, problem id) and, for policy `random`, on the rollout index; on
    nothing else. Fewer peers than asked for, or none, are returned where the group has no more.

    Raises IndexError where `rollout_index` is outside the group.
    """
    recipe = recipe or PeersConfig()
    texts = [clean(rollout.text) for rollout in group.rollouts]
    own_text = texts[rollout_index]
    order = _candidate_order(group, rollout_index, recipe.policy, seed)
    successes = [i for i in order if group.is_success(i)]
    success_peers, own_success = _pick(successes, texts, rollout_index, own_text, recipe.successes)
    passed = {texts[i] for i in successes}  # a noisy verifier may pass a text once and fail it once: no failure to show
    failures = [i for i in order if may_be_failure_peer(group, i, recipe) and texts[i] not in passed]
    hide_failures = recipe.show_failures == "when_no_success" and success_peers
    wanted = 0 if hide_failures else recipe.failures
    failure_peers, own_failure = _pick(failures, texts, rollout_index, own_text, wanted)
    return Peers(
        successes=tuple(success_peers),
        failures=tuple(failure_peers),
        success_texts=tuple(texts[i] for i in success_peers),
        failure_texts=tuple(texts[i] for i in failure_peers),
        shows_own_text=own_success or own_failure,
    )


def cleaner(recipe: ContextConfig) -> Callable[[str], str]:
    """What maps a completion's text to what would be shown of it."""
    return strip_thinking if recipe.strip_thinking else str.strip


def may_be_failure_peer(group: Group, index: int, recipe: PeersConfig) -> bool:
    """Whether a rollout failed and, cut at its length limit, may be shown all the same."""
    return group.is_failure(index) and (recipe.truncated_failures or not group.rollouts[index].is_truncated)


def _candidate_order(group: Group, rollout_index: int, policy: str, seed: int) -> list[int]:
    """All rollout indices in the order in which `policy` prefers them."""
    order = [rollout.index for rollout in group.rollouts]
    if policy == "group":
        derive_rng(seed, "peers", group.step, group.problem.id).shuffle(order)
    elif policy == "random":
        derive_rng(seed, "peers", group.step, group.problem.id, rollout_index).shuffle(order)
    return order


def _pick(
    candidates: Sequence[int], texts: Sequence[str], rollout_index: int, own_text: str, count: int
) -> tuple[list[int], bool]:
    """The first `count` candidates by distinct text, and whether the rollout's own text had to be shown.

    The block is the first `count` distinct texts of the whole group; a block member that the rollout may not see
    (itself, or its own text) is replaced, in its place, by the next candidate. So the contexts of a group share
    their blocks, and with them their prefixes.
    """
    distinct: list[int] = []
    for index in candidates:
        if texts[index] and texts[index] not in [texts[other] for other in distinct]:
            distinct.append(index)
    block, spare = distinct[:count], distinct[count:]
    spare = [index for index in spare if texts[index] != own_text]
    chosen = []
    for index in block:
        if texts[index] != own_text:
            chosen.append(index)
        elif spare:
            chosen.append(spare.pop(0))
    if not chosen and count:
        twins = [i for i in candidates if i != rollout_index and texts[i] and texts[i] == own_text]
        return twins[:1], bool(twins)
    return chosen, False


def unrelated_peers(
    peers: Peers,
    group: Group,
    others: Sequence[Group],
    seed: int,
    rollout_index: int,
    clean: Callable[[str], str] = str.strip,
    recipe: PeersConfig | None = None,
) -> Peers:
    """The control `unrelated_problem`: as many blocks as `peers` has, with texts from other problems' groups.

    Successes are replaced by other problems' successes and failures by their failures, drawn without
    replacement by (seed, step, problem id, rollout index). Indices in the result belong to `problem_ids`,
    successes first.
    """
    recipe = recipe or PeersConfig()
    rng = derive_rng(seed, "unrelated", group.step, group.problem.id, rollout_index)
    elsewhere = [other for other in others if other.problem.id != group.problem.id]
    successes = _draw(elsewhere, Group.is_success, len(peers.successes), rng, clean)
    shown = {text for *_, text in successes}
    failures = _draw(elsewhere, lambda g, i: may_be_failure_peer(g, i, recipe), len(peers.failures), rng, clean, shown)
    found = _filled(peers, successes, failures)
    return replace(found, problem_ids=tuple(problem_id for problem_id, *_ in successes + failures))


def random_peers(
    peers: Peers,
    group: Group,
    seed: int,
    rollout_index: int,
    clean: Callable[[str], str] = str.strip,
    recipe: PeersConfig | None = None,
) -> Peers:
    """The control `random_peer`: as many blocks as `peers` has, each filled from the group whatever its verdict.

    Headings stay, so that about as many lie as verdicts differ. Texts are drawn without replacement by (seed, step,
    problem id, rollout index), of the rollouts that could be peers; the rollout's own text is never drawn.
    """
    recipe = recipe or PeersConfig()
    rng = derive_rng(seed, "random peer", group.step, group.problem.id, rollout_index)
    own_text = clean(group.rollouts[rollout_index].text)
    drawn = _draw(
        [group],
        lambda g, i: g.is_success(i) or may_be_failure_peer(g, i, recipe),
        peers.count,
        rng,
        clean,
        {own_text},
    )
    return _filled(peers, drawn[: len(peers.successes)], drawn[len(peers.successes) :])


_Drawn = tuple[str, int, str]
"""Problem id, rollout index and text of what a control shows."""


def _filled(peers: Peers, successes: Sequence[_Drawn], failures: Sequence[_Drawn]) -> Peers:
    """The peers with other texts in their blocks."""
    return replace(
        peers,
        successes=tuple(index for _, index, _ in successes),
        failures=tuple(index for _, index, _ in failures),
        success_texts=tuple(text for *_, text in successes),
        failure_texts=tuple(text for *_, text in failures),
        shows_own_text=False,
    )


def _draw(
    groups: Sequence[Group],
    belongs: Callable[[Group, int], bool],
    count: int,
    rng: random.Random,
    clean: Callable[[str], str],
    shown: Collection[str] = (),
) -> list[_Drawn]:
    pool: dict[str, _Drawn] = {}
    for group in groups:
        for rollout in group.rollouts:
            text = clean(rollout.text)
            if text and text not in shown and belongs(group, rollout.index):
                pool.setdefault(text, (group.problem.id, rollout.index, text))
    return rng.sample(list(pool.values()), min(count, len(pool)))
