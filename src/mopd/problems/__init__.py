"""Problems: from files, data sets, reasoning-gym, or generated; split by problem; taken in a seeded order.

`sources` says what is read how: `files`, `tables` and data sets into records (`columns`), `passed` takes what was
passed in Python, `records` makes problems of them, `generated` makes problems of nothing;
`split` and `near_duplicates` part and check them, `order` says which come in which step, `loading` puts it together.

May import: `core`, `config`, `starters`, `verifiers`. A new public data set: a schema in `schemas`; a new kind of
generated problems: an entry of `generated.GENERATED`; a new kind of file: `files`.
"""

from mopd.problems.generated import GENERATED, REASONING_GYM_PREFIX
from mopd.problems.loading import ProblemSet, all_problems, load_problems
from mopd.problems.passed import Passed, ProblemsGiven, check_passed_again, with_passed
from mopd.problems.records import VERIFIER_OF_KIND, GivenCompletion
from mopd.problems.sources import read_completions, read_jsonl, read_problems
from mopd.problems.split import SplitReport

__all__ = [
    "GENERATED",
    "REASONING_GYM_PREFIX",
    "VERIFIER_OF_KIND",
    "GivenCompletion",
    "Passed",
    "ProblemSet",
    "ProblemsGiven",
    "SplitReport",
    "all_problems",
    "check_passed_again",
    "load_problems",
    "read_completions",
    "read_jsonl",
    "read_problems",
    "with_passed",
]
