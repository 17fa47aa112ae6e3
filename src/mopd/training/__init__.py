"""The loop.

`loop` goes from a configuration to a summary (`summary`); `step` is one step of the method, the first thing to read;
`metrics` turns a step into figures; `watching` is what a caller is told of a step; `inputs` is what is compared when a
run goes on; `nothing_learnt` tells of a run that none of its steps updated; `alarms` notice what goes wrong, `steering`
acts on them, `pausing` notices a teacher that is no help.

May import: everything but `cli`. A new metric of rollouts or lessons: `metrics`. A new signal: the table in `alarms`.
"""

from mopd.training.loop import resume, train
from mopd.training.watching import StepDone

__all__ = ["StepDone", "resume", "train"]
