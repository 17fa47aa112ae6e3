"""What a run shows people.

`header`, `steps`, `live` and `warnings` while it goes and at its end, `terminal` its figures and one group,
`contexts` what a teacher read, `completions` what a model wrote (`showing` prints the text of models), `loaded` all as
data, `missing` what of it cannot be read.

It reads run directories. `problems`, what will be trained on, is given its figures. May import: everything up to
`runs`. A new page or table of a run belongs here.
"""
