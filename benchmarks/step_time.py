"""What a step would take: of the program that a compiler made, and what is promised of chips."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a maker promises of a chip: operations (bf16) and bytes in a second.

    Attributes:
      peak: of matrix products.
      capacity: bytes of its memory.
      link: bandwidth into it along one axis of the torus, if that is a ring.
      ring: shortest axis that is one; shorter ones are lines, of half the bandwidth.
    """

    peak: float
    capacity: float
    link: float
    ring: int


# From "How to Scale Your Model" (jax-ml.github.io/scaling-book), table of TPU specifications.
CHIPS = {
    "v5e": Chip(197e12, 16 * _GIB, 9e10, 16),
    "v5p": Chip(459e12, 95 * _GIB, 1.8e11, 4),
    "v6e": Chip(918e12, 32 * _GIB, 1.8e11, 16),
}
# Part of the peak that is reached, and seconds to the next chip: assumed.
_REACHED, _HOP = 0.5, 1e-6

_TOLD = ("all-reduce", "all-gather", "reduce-scatter", "other")
_SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}
_COLLECTIVE = re.compile(
    r"= (?P<shape>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute|ragged-all-to-all)(?P<begun>-start)?\("
)
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_GROUPS = re.compile(r"replica_groups=(?:\[(\d+),(\d+)\]|\{\{([\d,]+)\})")


@dataclasses.dataclass(frozen=True)
class Collective:
    """Data that devices exchange at one place of a program.

    Attributes:
      kind: as XLA calls it.
      bytes: of the whole array on one device: summed, gathered, or before it is scattered.
      devices: how many take part in a group.
    """

    kind: str
    bytes: int
    devices: int


def collectives(program: str, devices: int) -> Iterator[Collective]:
    """Those of a compiled program's text, one for each place; loops count once."""
    for line in program.splitlines():
        if not (found := _COLLECTIVE.search(line)):
            continue
        sizes = [
            _SIZES.get(kind, 4) * math.prod(int(n) for n in shape.split(",") if n)
            for kind, shape in _ARRAY.findall(found["shape"])
        ]
        groups, kind = _GROUPS.search(line), found["kind"]
        part = devices
        if groups:
            part = int(groups[2]) if groups[2] else len(groups[3].split(","))
        # Most that are only begun here name what goes in, then what comes out.
        both = found["begun"] and kind != "all-reduce"
        whole = sum(sizes[len(sizes) // 2 :]) if both else sum(sizes)
        yield Collective(kind, whole * (part if kind == "reduce-scatter" else 1), part)


def exchange(found: Sequence[Mapping[str, Any]], topology: str) -> float:
    """Seconds that collectives take one after another, each at the bandwidth of its links.

    Of a group of all chips every axis of the torus carries a part; a smaller one is taken to lie
    along one axis that it fills. What is summed is first scattered, then gathered.
    """
    kind, _, shape = topology.partition(":")
    chip, axes = CHIPS[kind], [n for n in map(int, shape.split("x")) if n > 1]
    seconds = 0.0
    for one in found:
        n = one["devices"]
        if n < 2:
            continue
        used = axes if n == math.prod(axes) else [n]
        bandwidth = sum(chip.link if size >= chip.ring else chip.link / 2 for size in used)
        twice = 2 if one["kind"] == "all-reduce" else 1
        hops = sum(size - 1 for size in used)
        seconds += twice * (one["bytes"] * (n - 1) / n / bandwidth + hops * _HOP)
    return seconds


def step_time(line: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a step: on the chip, between chips, and both, one after another."""
    chip = CHIPS[line["topology"].partition(":")[0]]
    local = line["work"] / (_REACHED * chip.peak)
    between = exchange(line["collectives"], line["topology"])
    return {"local": local, "between": between, "both": local + between}


def table(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rows of Markdown, one of each program."""
    yield (
        "| slice | data x fsdp | each chip | state, GiB | rest, GiB | of | TFLOP | and again "
        "| all-reduce, MB | all-gather, MB | reduce-scatter, MB | other, MB | ms on the chip "
        "| ms between | one after another | of 8 chips' |"
    )
    yield "|---" * 16 + "|"
    eight = {}
    for line in lines:
        times, chip = step_time(line), CHIPS[line["topology"].partition(":")[0]]
        alike = (line["what"], line["frames"], line["topology"][:3], line["batch"])
        if line["devices"] == 8:
            eight.setdefault(alike, times["both"])
        amounts: dict[str, float] = dict.fromkeys(_TOLD, 0.0)
        for one in line["collectives"]:
            amounts[one["kind"] if one["kind"] in _TOLD else "other"] += one["bytes"] / 1e6
        mesh = " x ".join(str(n) for n in line["mesh"].values())
        yield (
            f"| {line['topology']} | {mesh} | {line['batch']} x {line['frames']} "
            f"| {line['state'] / _GIB:.1f} | {(line['memory'] - line['state']) / _GIB:.1f} "
            f"| {chip.capacity / _GIB:.0f} | {line['flops'] / 1e12:.1f} "
            f"| {(line['work'] - line['flops']) / 1e12:.1f} | "
            + " | ".join(f"{amount:,.0f}" for amount in amounts.values())
            + f" | {1e3 * times['local']:.0f} | {1e3 * times['between']:.0f} "
            f"| {times['local'] / times['both']:.0%} | {_part(eight.get(alike), times['both'])} |"
        )


def _part(eight: float | None, seconds: float) -> str:
    return f"{eight / seconds:.0%}" if eight else ""
