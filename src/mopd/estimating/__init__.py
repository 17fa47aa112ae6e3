"""What a run will need, said before it begins: bytes by part and seconds a step, from shapes and lengths alone.

`sizes` builds a model without weights, `plan` has the rules of bytes a parameter, `layout` lays out a step as its
problems make it, `tracing` runs the layers on tensors without numbers, `memory` and `seconds` add up, `devices` is the
table of cards and this machine, and `estimate` puts all of it together.

May import: everything up to `preflight`. A new way of keeping weights: a rule in `plan`; a new card: a line in
`devices`.
"""
