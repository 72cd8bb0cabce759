"""What is read of a compiler's program, and the time that follows from it."""

import math

import pytest

from benchmarks.step_time import Collective, collectives, exchange, step_time, table

PROGRAM = """
  %all-reduce.1 = (f32[8,4]{1,0:T(8)}, bf16[16]{0}) all-reduce(%a, %b), replica_groups=[1,8]<=[8]
  %ag = bf16[64,2]{1,0} all-gather(%c), replica_groups=[4,2]<=[8], dimensions={0}
  %rs = f32[16]{0} reduce-scatter(%d), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}
  %start = (f32[10]{0}, f32[20]{0}) all-gather-start(%e), replica_groups=[4,2]<=[8]
  %sum = (f32[10]{0}, f32[20]{0}) all-reduce-start(%e, %f), replica_groups=[1,8]<=[8]
  %done = f32[20]{0} all-gather-done(%start)
  %fusion = f32[4]{0} fusion(%all-reduce.1), kind=kLoop, calls=%all-reduce-of-names
"""


def test_collectives_of_a_program():
    assert list(collectives(PROGRAM, 8)) == [
        Collective("all-reduce", 8 * 4 * 4 + 16 * 2, 8),
        Collective("all-gather", 64 * 2 * 2, 2),
        Collective("reduce-scatter", 4 * 16 * 4, 4),
        Collective("all-gather", 20 * 4, 2),
        Collective("all-reduce", 30 * 4, 8),
    ]


def test_what_is_summed_goes_round_twice():
    """Three axes of a torus carry it, each at half its bandwidth where it is no ring."""
    one = {"kind": "all-reduce", "bytes": 10**9, "devices": 64}
    assert exchange([one], "v5p:4x4x4") == pytest.approx(2 * (1e9 * 63 / 64 / (3 * 1.8e11) + 9e-6))
    eight = {**one, "devices": 8}
    assert exchange([eight], "v5p:2x2x2") == pytest.approx(2 * (1e9 * 7 / 8 / 2.7e11 + 3e-6))
    gathered = {**one, "kind": "all-gather"}
    assert 2 * exchange([gathered], "v5p:4x4x4") == exchange([one], "v5p:4x4x4")
    assert exchange([{**one, "devices": 1}], "v5p:4x4x4") == 0


def test_step_time_and_its_table():
    line = {
        **{"what": "train", "topology": "v5p:2x2x2", "mesh": {"data": 8, "fsdp": 1}, "batch": 4},
        "devices": 8,
        **{"frames": 1, "work": 459e12, "flops": 300e12, "state": 2**30, "memory": 3 * 2**30},
        "collectives": [{"kind": "all-reduce", "bytes": 10**9, "devices": 8}],
    }
    times = step_time(line)
    assert times["local"] == 2.0 and times["both"] == times["local"] + times["between"]
    head, rule, row = table([line])
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == head.count("|") - 1 == rule.count("-") // 3
    assert cells[3:5] == ["1.0", "2.0"] and cells[8] == "1,000" and cells[-1] == "100%"
    assert math.isclose(float(cells[12]), 2000)
