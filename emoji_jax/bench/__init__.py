"""EmojiBench (arXiv 2406.01900, section 4.2): portraits, drivers, and who is animated by whom.

`folder` reads a benchmark, `build` makes one of a user's pictures and videos, `mini` a small one of
what may be passed on. `methods` makes the results that are measured, `measure` measures them,
`report` writes what was found, `study` asks people.
"""
