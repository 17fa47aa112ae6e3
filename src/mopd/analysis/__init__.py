"""What the records of runs say: `mopd analyze` and `mopd diff`.

`opened` are the models of a checkpoint, to read recorded rollouts again. `differences` sets runs beside one another.

May import: everything but `page` and `cli`. Two runs are compared here, for the page as well.
"""
