"""The processes that one run is computed by, and what they tell one another.

`launch` reads what a launcher (torchrun, accelerate) told this process; `ranks` has the collectives, which do nothing
where there is one process; `sharing` says who does what.

May import: `core`. A new collective: a method of `Ranks` that raises RankError where another process is gone.
"""
