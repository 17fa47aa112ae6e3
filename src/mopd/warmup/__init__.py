"""The supervised stage before step 0, for students that cannot do their task or cannot read peers yet.

`warmup` trains a student or takes it from the `cache`; `stages` are its updates; `demonstrations` what is shown.

May import: everything up to `runs` and `preflight`. A new kind of warm-up: a table in `config/warmup.py`,
demonstrations, and a stage.
"""
