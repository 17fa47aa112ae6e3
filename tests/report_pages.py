"""What tests of `mopd report` share: its data read back from the page, and runs with hostile completions."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1"><b id="evil">unclosed <table><tr><td',
    "<!-- <script> \u2028 ]]> &lt; &amp;amp; {problem} {blocks}",
    "מימין לשמאל ‏123‏ \u202egnp.exe\u202c عربي",
    "👩‍👩‍👧‍👦 🇩🇪 é́́ ﷽ \x00\x1b[31mred\x07 \ud83d",
    "\u200b\ufeff\u00a0",
    "a" * 100_000,
    "word " * 20_000,
    "`'\"\\</style><style>body{display:none}</style>",
)


def blocks_of(page: Path) -> dict:
    """The blocks of data of a page, by name."""
    found = re.findall(r'<script type="application/json" id="data-([a-z-]+)">(.*?)</script>', page.read_text(), re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def with_hostile_text(run: Path, folder: Path, rollouts: int) -> Path:
    """A copy of a run whose recorded groups have so many rollouts in ten steps, with hostile completions, prompts and feedback."""
    copied = shutil.copytree(run, folder)
    groups = [json.loads(line) for line in (run / "groups.jsonl").read_text().splitlines()]
    size = len(groups[0]["rollouts"])
    with open(copied / "groups.jsonl", "w") as file:
        for number in range(rollouts // size):
            group = json.loads(json.dumps(groups[number % len(groups)]))
            group["step"] = number * size * 10 // rollouts
            if number >= len(groups):  # the first ones stay as they are, so that they can be scored
                group["problem_id"] = f"{HOSTILE[number % 5]} {number}"
                group["prompt"][-1]["content"] += HOSTILE[(number + 1) % len(HOSTILE)][:2000]
                for rollout in group["rollouts"]:
                    long = number % 50 == 0
                    text = HOSTILE[(number + rollout["index"]) % len(HOSTILE)]
                    rollout["completion"] = text if long else text[:2000] + " some words of an answer" * 20
                    rollout["feedback"] = rollout["answer"] = HOSTILE[rollout["index"] % 6]
            file.write(json.dumps(group) + "\n")
    for path in (copied / "evaluations").glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for number, row in enumerate(rows):
            row["completion"] = HOSTILE[number % 6]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return copied
