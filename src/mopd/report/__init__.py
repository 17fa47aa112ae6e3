"""What a run shows people: `terminal` its figures and one group, `contexts` what a teacher read, `loaded` all as data.

It reads run directories. `problems`, what will be trained on, is given its figures. May import: everything up to
`runs`. A new page or table of a run belongs here.
"""
