"""Verifiers on texts that no model of a run wrote: completions from a file, and junk.

`completions` is `mopd verify`; `junk` says what solves nothing; `audit` sends it through a problem's verifier.

May import: everything up to `runs` and `judging`. A new kind of junk: an entry of `junk.junk_for`.
"""
