"""Measures a checkpoint, or other people's results, on EmojiBench (arXiv 2406.01900, section 4.3).

python -m emoji_jax.evaluate --bench mini --checkpoint tiny --out results
python -m emoji_jax.evaluate --bench DIR --checkpoint DIR --pred "other method=DIR" --out results
python -m emoji_jax.evaluate --study-results ANSWERS.json --study-results ... --out results

Writes results.json, report.md and report.html; with --study also study.html. The same command goes
on where it was stopped.
"""

import sys
from pathlib import Path

from absl import flags
from tqdm import tqdm

from emoji_jax import command, options
from emoji_jax import config as config_file
from emoji_jax.errors import UserError

_BENCH = flags.DEFINE_string("bench", "mini", "mini, or the folder of a benchmark.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "tiny", "Bundled checkpoint or folder of one; empty for none."
)
_PRED = flags.DEFINE_multi_string(
    "pred",
    [],
    "[NAME=]DIR: results of another method, videos or folders named as the pairs are; without a "
    "name, the folder's.",
)
_BASELINES = flags.DEFINE_bool("baselines", True, "Also the repeated portrait and a warp.")
_OWN = {
    "arcface": flags.DEFINE_string("arcface", None, "ArcFace's weights (.onnx), not SFace."),
    "alexnet": flags.DEFINE_string(
        "alexnet", None, "alexnet-owt-7be5be79.pth of torchvision: LPIPS, not ST-LPIPS."
    ),
    "hyperiqa": flags.DEFINE_string(
        "hyperiqa", None, "HyperIQA-resnet50-koniq10k-c96c41b1.pth: HyperIQA, not BRISQUE."
    ),
}
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", required=True)
_PART = flags.DEFINE_integer("part", 0, "Which part of the pairs to measure, of --parts.", 0)
_PARTS = flags.DEFINE_integer("parts", 1, "Processes that share the pairs, each its part.", 1)
_STUDY = flags.DEFINE_bool("study", False, "Also a page that asks people.")
_STUDY_RESULTS = flags.DEFINE_multi_string(
    "study_results", [], "Answers to a study; only these are looked at."
)
flags.DEFINE_alias("study-results", "study_results")
_CONFIG = config_file.flag("sample.py")
flags.declare_key_flag("config")
# Options that the benchmark says.
_SAID = ("motion", "controls", "framing")


def main() -> None:
    """Does what the flags say."""
    out = Path(_OUT.value)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; expected a folder, or a name for a new one")
    if _PART.value >= _PARTS.value:
        raise UserError(f"--part is {_PART.value}; expected less than --parts, {_PARTS.value}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} can't be made: {error.strerror}") from None
    if _STUDY_RESULTS.value:
        _aggregate(out)
        return
    loading = options.of_loading(_CONFIG.value)
    animating = options.of_animating(_CONFIG.value)
    _refuse_unused()
    from emoji_jax.bench import evaluation, mini
    from emoji_jax.bench.folder import read
    from emoji_jax.bench.measure import OwnWeights

    preds = dict(_named(text) for text in _PRED.value)
    if len(preds) < len(_PRED.value):
        raise UserError("two --pred have one name; expected different ones")
    run = evaluation.Evaluation(
        mini.fetch() if _BENCH.value == "mini" else read(Path(_BENCH.value)),
        out,
        checkpoint=_CHECKPOINT.value,
        loading=loading,
        sampler=animating["sampler"],
        seed=animating["seed"],
        baselines=_BASELINES.value,
        preds=preds,
        own=OwnWeights(**{name: Path(f.value) for name, f in _OWN.items() if f.value}),
        study=_STUDY.value,
    )
    jobs = run.jobs(_PART.value, _PARTS.value)
    for _ in tqdm(run.work(jobs), total=len(jobs), desc="measuring", file=sys.stderr):
        pass
    missing = run.missing()
    if missing:
        print(f"{out}: {missing} results are still to be measured, by other parts")
        return
    bad = run.report()
    if bad:
        raise UserError(f"{bad} results could not be measured; {out / 'report.md'} says which")
    print(f"{out / 'report.md'} and report.html: {len(run.bench.pairs)} pairs")


def _refuse_unused() -> None:
    """Raises a UserError for options that would do nothing."""
    usual = config_file.read("sample.py", beside=str(config_file.folder() / "sample.py")).to_dict()
    given = _CONFIG.value.to_dict()
    for name in _SAID:
        if given[name] != usual[name]:
            raise UserError(f"config.{name} has no say in an evaluation: the benchmark says it")


def _named(text: str) -> tuple[str, Path]:
    if Path(text).is_dir():
        return Path(text).resolve().name, Path(text)
    name, found, folder = text.partition("=")
    if not found or not name.strip() or not Path(folder).is_dir():
        raise UserError(f"--pred is {text!r}; expected NAME=DIR or DIR, a folder of results")
    return name.strip(), Path(folder)


def _aggregate(out: Path) -> None:
    """Ranks of a study's answers."""
    import json

    from emoji_jax.bench import record, report, study

    found = study.aggregate([Path(file) for file in _STUDY_RESULTS.value])
    record.write(out / "study.json", json.dumps(found, indent=1) + "\n")
    print(report.markdown(study.table(found)))
    print("\nThe paper's (table 1), of its own clips and people:\n")
    print(report.markdown(report.paper(report.STUDIED)))


if __name__ == "__main__":
    command.run(main)
