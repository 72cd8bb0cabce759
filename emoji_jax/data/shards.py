"""The shards that parts end up in, one whole dataset. A file with its final name is whole."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from emoji_jax import files
from emoji_jax.data.parts import Part, writing
from emoji_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Split:
    """How identities are divided.

    Attributes:
      validation: part of all identities.
      test: likewise.
      min_identities: with fewer, all are for training.
    """

    validation: float = 0.05
    test: float = 0.05
    min_identities: int = 20

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise UserError(
                f"config.split gives {self.validation} to validation and {self.test} to test; "
                "expected parts that leave something for training"
            )

    def of(self, identity: str) -> str:
        """The split of an identity: it does not depend on what else there is."""
        digest = hashlib.sha256(identity.encode("utf-8", "backslashreplace")).digest()
        place = int.from_bytes(digest[:6], "big") / 2**48
        if place < self.test:
            return "test"
        return "validation" if place < self.test + self.validation else "train"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of the dataset: which bytes of which parts."""

    split: str
    records: tuple[tuple[Path, int, int], ...]

    @property
    def size(self) -> int:
        """Bytes of its records."""
        return sum(length for _, _, length in self.records)


def assign(parts: Sequence[Part], split: Split) -> list[str]:
    """The split of every part."""
    identities = {part.report["identity"] for part in parts if part.lengths}
    if len(identities) < split.min_identities:
        return ["train"] * len(parts)
    return [split.of(part.report["identity"]) for part in parts]


def plan(parts: Sequence[Part], splits: Sequence[str], shard_bytes: int) -> list[Shard]:
    """Divides parts, in their order, into shards of about a size."""
    shards = []
    for name in ("train", "validation", "test"):
        records: list[tuple[Path, int, int]] = []
        size = 0
        for part, of in zip(parts, splits, strict=True):
            offset = 0
            for length in part.lengths if of == name else ():
                if records and size + length > shard_bytes:
                    shards.append(Shard(name, tuple(records)))
                    records, size = [], 0
                records.append((part.path, offset, length))
                offset, size = offset + length, size + length
        if records:
            shards.append(Shard(name, tuple(records)))
    return shards


def write(folder: Path, dataset: str, shards: Sequence[Shard], layout: Any) -> None:
    """Writes shards and what TFDS needs to know about them into a folder of their own, then moves.

    `dataset_info.json` comes last: without it there is no dataset.
    """
    unfinished = folder / ".unfinished"
    with writing(folder):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            for name in {shard.split for shard in shards}:
                files = [shard for shard in shards if shard.split == name]
                for i, shard in enumerate(files):
                    file = f"{dataset}-{name}.array_record-{i:05d}-of-{len(files):05d}"
                    _write_shard(unfinished / file, shard)
            if shards:
                _write_metadata(unfinished, dataset, shards, layout)
            (folder / "dataset_info.json").unlink(missing_ok=True)
            for old in [*folder.glob("*.array_record-*-of-*"), folder / "features.json"]:
                old.unlink(missing_ok=True)
            # Before anything else in the order of names, and so moved last.
            for file in sorted(unfinished.iterdir(), key=lambda f: f.name == "dataset_info.json"):
                file.replace(folder / file.name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _write_shard(path: Path, shard: Shard) -> None:
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

    # Groups of one: a clip is large, and read alone. Pictures are compressed already.
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    try:
        source, file = None, None
        for part, offset, length in shard.records:
            if part != source:
                if file:
                    file.close()
                source, file = part, part.open("rb")
            assert file is not None
            file.seek(offset)
            writer.write(file.read(length))
        if file:
            file.close()
    finally:
        writer.close()
    reader = ArrayRecordReader(str(path))
    found = reader.num_records()
    reader.close()
    if found != len(shard.records):
        raise OSError(f"{found} records of {len(shard.records)} arrived")
    with path.open("rb") as file:  # on the disk before anything says that the dataset is done
        os.fsync(file.fileno())


def _write_metadata(folder: Path, dataset: str, shards: Sequence[Shard], layout: Any) -> None:
    import tensorflow_datasets as tfds

    path: Any = folder  # which need not be one of etils
    template = tfds.core.ShardedFileTemplate(
        dataset_name=dataset, data_dir=path, filetype_suffix="array_record"
    )
    infos = []
    for name in ("train", "validation", "test"):
        of_split = [shard for shard in shards if shard.split == name]
        if of_split:
            infos.append(
                tfds.core.SplitInfo(
                    name=name,
                    shard_lengths=[len(shard.records) for shard in of_split],
                    num_bytes=sum(shard.size for shard in of_split),
                    filename_template=template.replace(split=name),
                )
            )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=layout,
        split_infos=infos,
        description="Portraits in motion; source and licence are in every record.",
        check_data=False,  # would need TensorFlow
    )


def finish(
    out: Path,
    parts: Sequence[Part],
    splits: Sequence[str],
    dataset: str,
    shard_bytes: int,
    layout: Any,
) -> Counter[str]:
    """Makes shards and report of the parts, and removes the parts of other inputs or options.

    Args:
      out: folder of the dataset.
      parts: of all inputs.
      splits: of every part; see `assign`.
      dataset: begins the files' names.
      shard_bytes: about the size of a file.
      layout: of the records: TFDS's features.

    Returns:
      How many inputs are kept, or why not.
    """
    wanted = plan(parts, splits, shard_bytes)
    order = [[s.split, [(str(p.name), o, n) for p, o, n in s.records]] for s in wanted]
    digest = hashlib.sha256(json.dumps([dataset, order]).encode()).hexdigest()
    done = out / "parts" / "done"
    with writing(out):
        same = done.is_file() and done.read_text() == digest
    if not (same and ((out / "dataset_info.json").is_file() or not wanted)):
        with writing(done):
            done.unlink(missing_ok=True)
        write(out, dataset, wanted, layout)
    counts = _write_report(out / "report.jsonl", parts, splits)
    with _replacing(done) as file:
        file.write(digest.encode())
    kept = {part.path for part in parts}
    for old in out.glob("parts/*/*.part"):
        if old not in kept:
            old.unlink()
    return counts


def _write_report(path: Path, parts: Sequence[Part], splits: Sequence[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    with _replacing(path) as file:
        for part, name in zip(parts, splits, strict=True):
            report = {key: value for key, value in part.report.items() if key != "retry"}
            report["split"] = name if part.lengths else ""
            counts["kept" if part.lengths else report["reason"]] += 1
            line = json.dumps(report, ensure_ascii=False) + "\n"
            file.write(line.encode("utf-8", "backslashreplace"))
    return counts


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that has its name once it is whole."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as unfinished, unfinished.open("wb") as file:
            yield file
