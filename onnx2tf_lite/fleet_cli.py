"""Convert many models, each checked, on all cores of this machine or on a Dask cluster.

examples:
  onnx2tf-fleet models/ -o out                             every .onnx below a folder
  onnx2tf-fleet 'more/*.onnx' -o out --outputs float32     any option of onnx2tf, for all of them
  onnx2tf-fleet --plan nightly.yaml -o out --dry-run       options and recipes per model; say what would be done
  onnx2tf-fleet models/ -o out --scheduler tcp://host:8786
  onnx2tf-fleet s3://bucket/models/ -o s3://bucket/out     with the package that fsspec names for it

Every model gets a folder below the output, and index.html shows them all, with what changed since the run before.  What
is there already, made of the same model, options and versions, is not made again: an interrupted run is started again.

exit codes:
  0  every model is right
  1  a model differs, was refused, could not be checked, or its process died
  2  wrong command line or plan; nothing was converted
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .aliases import ALIASES
from .commands import command, flag, group, option, words
from .errors import ToolError

if TYPE_CHECKING:
    from .fleet import Fleet
    from .fleet.progress import View
    from .fleet.run import Lanes

#: Options of a single conversion that mean nothing here: where its page goes, and how much it prints.
OWN = {"html", "verbosity", "non_verbose"}
VIEWS = ("auto", "lines", "json", "quiet")
FLEET = [
    *group(
        "models",
        option("models [MODEL...]", "files, folders or globs"),
        option("-o --output FOLDER", "where the results go; default: out"),
        option("--plan FILE", "a YAML plan: models, options, recipes"),
        flag("--dry-run", "say what would be done, with the memory that each needs"),
        flag("--schema", "print the JSON schema of plans, for editors"),
    ),
    *group(
        "where they are converted",
        option("--scheduler ADDRESS", "of a Dask cluster; default: one on this machine"),
        option("--workers N", "worker processes of this machine; default: one per core", type=words.positive),
        option("--memory-limit BYTES", "for a model, 4GB; default: this machine's, divided by its workers",
               type=words.size),
        option("--timeout SECONDS", "for a model; default 600", type=words.positive),
    ),
    *group(
        "what is shown",
        option("--progress", "default: a table on a terminal, lines in a pipe", choices=VIEWS),
        option("--pages", "models that get a page of their check; default: wrong", choices=("all", "wrong", "none")),
    ),
]  # fmt: skip


def run(models: Sequence[str] = (), output: str = "out", ignored: tuple[str, ...] = (), **given: Any) -> int:
    """Convert all; the exit code.  ``ignored``: what is to be said of options that do nothing."""
    for warning in ignored:
        print(f"warning: {warning}", file=sys.stderr)
    if "schema" in given:
        return _say_schema()
    own = {row.dest for row in FLEET}
    options = {name: value for name, value in given.items() if name not in own}
    try:
        if not models and "plan" not in given:
            raise ToolError("there is no model: name files, folders, globs or a --plan")
        return _carry_out(models, output, options, given)
    except ToolError as error:
        print(f"onnx2tf-fleet: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"onnx2tf-fleet: {error.name} is missing: pip install 'onnx2tf_lite[fleet]'", file=sys.stderr)
    return 2


def _carry_out(models: Sequence[str], output: str, options: dict[str, Any], given: dict[str, Any]) -> int:
    from .fleet import convert_many
    from .fleet.cluster import Capacity
    from .fleet.run import planned

    settings: dict[str, Any] = {
        name: given[name] for name in ("scheduler", "workers", "memory_limit", "timeout") if name in given
    }
    settings["page"] = given.get("pages", "wrong")
    if "dry_run" in given:
        capacity = Capacity(**{"workers": os.cpu_count(), **settings})
        return _say_plan(planned(models, given.get("plan"), options, capacity))
    view = _view(given.get("progress", "auto"))
    return _tell(convert_many(models, output, plan=given.get("plan"), options=options, view=view, **settings))


def _view(name: str) -> View:
    from .fleet.progress import Json, Lines, Live, Silent

    kinds = {"lines": Lines, "json": Json, "quiet": Silent, "auto": Live if sys.stdout.isatty() else Lines}
    return kinds[name]()


def _tell(fleet: Fleet) -> int:
    from collections import Counter

    counts = Counter(record["status"] for record in fleet.records.values())
    again = sum(bool(record.get("again")) for record in fleet.records.values())
    said = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    lost = f", {len(fleet.lost)} lost" if fleet.lost else ""
    print(f"{said}{lost}; {again} of them were there already; {fleet.output}/index.html shows them", file=sys.stderr)
    return 0 if fleet.ok else 1


def _say_schema() -> int:
    import json

    from .fleet.plan import schema

    print(json.dumps(schema(), indent=2))
    return 0


def _say_plan(lanes: Lanes) -> int:
    """A line for every model: its lane, the memory that it may need, what it gets."""
    from .fleet.plan import need

    room = lanes.room
    packed = f"{len(lanes.packed)} models side by side, each with {_gigabytes(room.share)}"
    alone = f"{len(lanes.alone)} alone, with the {_gigabytes(room.whole)} of a machine"
    print(f"{packed}; {alone}", file=sys.stderr)
    for lane, jobs in (("beside others", lanes.packed), ("alone", lanes.alone)):
        for job in jobs:
            given = ", ".join(f"{name}={value!r}" for name, value in job.options.items()) or "the defaults"
            recipe = f", after {job.recipe}" if job.recipe else ""
            fits = "" if need(job) <= room.whole else ", which is more than there is"
            print(f"{job.name}: {lane}, up to {_gigabytes(need(job))}{fits}, {given}{recipe}")
    return 0


def _gigabytes(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB"


main = command(
    run,
    *FLEET,
    *(row.option for row in ALIASES.values() if row.keyword not in OWN),
    name="onnx2tf-fleet",
    usage="onnx2tf-fleet [MODEL ...] [-o FOLDER] [options]",
    exact=True,
)

if __name__ == "__main__":
    sys.exit(main())
