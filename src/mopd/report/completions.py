"""What a model wrote, as `mopd generate` prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from mopd.report.showing import print_plain, print_titled


def print_completions(found: Mapping[str, Any], console: Console) -> None:
    """The prompt as the model read it, each completion with its figures, and a line on all of them."""
    print_titled(console, f"what the model reads ({found['prompt_tokens']} tokens)", found["rendered"])
    completions = found["completions"]
    for one in completions:
        print_titled(console, f"completion {one['index'] + 1} of {len(completions)}", one["completion"])
        print_plain(console, f"-- {_figures(one)}")
    console.rule()
    print_plain(console, _summary(found))


def _figures(one: Mapping[str, Any]) -> str:
    cut = ", cut at the limit" if one["is_truncated"] else ""
    tokens = f"{one['token_count']} token" + ("" if one["token_count"] == 1 else "s")
    told = [f"{tokens}{cut}", f"mean log-probability {one['mean_logprob']:.3f} a token"]
    if "kind" in one:
        told.append(f"{one['kind']}, reward {one['reward']:g}")
        told += [] if one["answer"] is None else [f"answer {one['answer']}"]
        told += [one["feedback"]] if one["kind"] == "error" else []
    return "; ".join(told)


def _summary(found: Mapping[str, Any]) -> str:
    completions, sampling = found["completions"], found["sampling"]
    cut = sum(one["is_truncated"] for one in completions)
    kinds = Counter(one["kind"] for one in completions if "kind" in one)
    told = [
        f"{len(completions)} completions of at most {sampling['completion_tokens']} tokens, {cut} cut there",
        *(f"{count} {kind}" for kind, count in kinds.items()),
        f"temperature {sampling['temperature']:g}, top_p {sampling['top_p']:g}, seed {found['seed']}",
        found["model"],
    ]
    return "; ".join(told)
