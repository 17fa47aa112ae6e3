"""Problems before any run, and judges on texts that no model of a run wrote: completions from a file, and junk.

`problem_set` is `mopd problems`; `completions` is `mopd verify`, with `functions` where reward functions judge; `junk`
says what solves nothing; `audit` sends it through a problem's verifier.

May import: everything up to `runs` and `preflight`. A new kind of junk: an entry of `junk.junk_for`.
"""
