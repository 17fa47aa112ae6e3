"""The harness: what runs inside a sandbox, as its first process.

`requests` says what it can be asked. `channel` is the lines that go in and out.

- A program: `programs` loads it, and runs it and kills it at its limits; `names` is what it may use without an import,
  and `descriptors` the files that stand for its own input and output. `calls` answers calls of what it defines, with
  results as `values` writes them.
- Tests that assert: `assertions` runs them, and `asked_names` says what they ask the program for. Both sides hold a
  `conversation`, whose values `crossing` writes; `surroundings` is what tests change around the program. `objects` is
  what stays with the program, and `stand_ins`, of classes that are `mirrors`, is what the tests have in its place.

As first process of its namespace the harness cannot be signalled from within.

A sandbox has this folder alone of mopd, as the package `harness` (`mopd.sandbox.archive` packs it), and its Python may
be the system's. So a module here

- imports its siblings relatively, nothing else of mopd, and of libraries the standard one alone,
- needs no newer Python than 3.9,
- imports what takes long to import where it is needed: `json` alone takes half as long as the interpreter
  itself, so `channel` has its core.
"""
