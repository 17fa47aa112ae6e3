"""Before the first step of anything: the setup that all parts of a run share, and checks that need no work.

May import: everything up to `rollouts` and `judging`. A new check that spares a user a late failure belongs in
`checks`; one that must run the student or a verifier, in `trial`.
"""
