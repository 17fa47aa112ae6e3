"""The harness: what runs inside a sandbox, as its first process.

`requests` says what it can be asked. `programs` runs a program and kills it at its limits. `calls` answers calls of
what a program defines. `assertions` runs tests, on stand-ins (`remotes`) for what the program defines. `channel` is the
lines that go in and out, `values` how results are written in them, `names` what code may use without an import.

As first process of its namespace the harness cannot be signalled from within.

A sandbox has this folder alone of mopd, as the package `harness` (`mopd.sandbox.archive` packs it), and its Python may
be the system's. So a module here

- imports its siblings relatively, nothing else of mopd, and of libraries the standard one alone,
- needs no newer Python than 3.9,
- imports what takes long to import where it is needed: `json` alone takes half as long as the interpreter itself.
"""
