"""What a run shows people: `terminal` its figures and one group, `contexts` what a teacher read, `completions` what a
model wrote; `showing` prints the text of models.

It only reads run directories. May import: everything up to `runs`. A new page or table of a run belongs here.
"""
