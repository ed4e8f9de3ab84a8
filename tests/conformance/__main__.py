"""The conformance measure: ONNX's backend suite, converted, run and compared.

    python -m tests.conformance                          the .tflite of every case as it is
    python -m tests.conformance --baked                  ... with parameters as constants
    python -m tests.conformance --dynamic                ... with every extent of every input unknown
    python -m tests.conformance --saved-model            the SavedModel, run with TensorFlow
    python -m tests.conformance --write                  all four; then results.json and docs/operators.md
    python -m tests.conformance 'test_slice*' --show     some cases, with their programs
    python -m tests.conformance FOLDER                   cases of one's own: FOLDER/name/model.onnx, test_data_set_0

A line per case that is not ok: refused (the converter says why), WRONG (other values), CRASH.
"""

from __future__ import annotations

import argparse
import faulthandler
import fnmatch
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests import harness
from tests.conformance import cases as suite
from tests.conformance import operators, results
from tests.conformance.judge import CRASH, OK, REFUSED, Verdict, judge, kind_of

SECONDS = 120  # for one case


def judge_all(cases: Sequence[suite.Case], kind: str, jobs: int = 2) -> Iterator[tuple[suite.Case, Verdict]]:
    """Every case with its verdict, in forked children: one that dies is the crash of its case and is replaced."""
    with ThreadPoolExecutor(jobs) as pool:
        shares = [cases[i::jobs] for i in range(jobs)]
        for share, verdicts in zip(shares, pool.map(lambda share: _share(share, kind), shares), strict=True):
            yield from zip(share, verdicts, strict=True)


def _share(cases: Sequence[suite.Case], kind: str) -> list[Verdict]:
    verdicts: list[Verdict] = []
    while len(verdicts) < len(cases):
        ours, theirs = harness.FORK.Pipe(duplex=False)
        child = harness.FORK.Process(target=_serve, args=(theirs, cases[len(verdicts) :], kind))
        child.start()
        theirs.close()
        try:
            while len(verdicts) < len(cases):
                if not ours.poll(SECONDS):
                    raise EOFError(f"no answer within {SECONDS} s")
                verdicts.append(ours.recv())
        except EOFError as error:
            verdicts.append(Verdict(CRASH, str(error) or "the process died"))
        child.kill()
        child.join()
    return verdicts


def _serve(pipe: Any, cases: Sequence[suite.Case], kind: str) -> None:
    faulthandler.disable()  # a death is reported by the parent
    for case in cases:
        pipe.send(judge(case, kind))


def chosen(patterns: Sequence[str]) -> list[suite.Case]:
    """The cases of the suite that match a pattern (none: all), and those in folders."""
    folders = [Path(p) for p in patterns if Path(p).is_dir()]
    if folders and len(folders) == len(patterns):
        return [case for folder in folders for case in suite.read_folder(folder)]
    wanted = [*patterns, *(f"*/{p}" for p in patterns)] or ["*"]
    return [c for name, c in suite.cases().items() if any(fnmatch.fnmatch(name, p) for p in wanted)]


def reasons(verdicts: Sequence[tuple[suite.Case, Verdict]]) -> list[str]:
    """Reasons, those that differ only in names and numbers as one, most frequent first, each with an example."""
    groups: dict[str, list[str]] = {}
    for case, verdict in verdicts:
        text = re.sub(r"\S+: \w+\[[^]]*\]|'[^']*'", "...", verdict.reason)
        groups.setdefault(f"{verdict.status}: {re.sub(r'[0-9.e+-]*[0-9]+', 'N', text)[:140]}", []).append(case.name)
    return [f"{len(names):4} x {text} ({names[0]})" for text, names in sorted(groups.items(), key=lambda g: -len(g[1]))]


def run(kind: str, cases: Sequence[suite.Case], args: argparse.Namespace) -> list[tuple[suite.Case, Verdict]]:
    """One variant of the cases, judged and reported."""
    start = time.perf_counter()
    made = [made for case in cases if (made := suite.variant(case, kind)) is not None]
    found = list(judge_all(made, kind_of(kind), args.jobs))
    counted = [(c, v) for c, v in found if c.in_scope]
    failed = [(c, v) for c, v in found if v.status != OK]
    for case, verdict in failed if len(cases) < 200 or args.list else ():
        print(f"{verdict.status:8}{case.name}: {verdict.reason}")
    ok = sum(v.status == OK for _, v in counted)
    total = ", ".join(f"{n} {status}" for status, n in Counter(v.status for _, v in found).items())
    print(f"{kind}: {ok} of {len(counted)} cases in scope match ({100 * ok / max(1, len(counted)):.1f} %); "
          f"of all {len(found)}: {total}; {time.perf_counter() - start:.0f} s")  # fmt: skip
    for line in reasons([(c, v) for c, v in failed if c.in_scope]):
        print(line)
    return found


def main() -> int:
    text = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=text[0], epilog=text[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="of case names, or folders of cases")
    for kind in suite.VARIANTS[1:]:
        parser.add_argument(f"--{kind}", dest="kinds", action="append_const", const=kind)
    parser.add_argument("--write", action="store_true", help="run all, store the result, make docs/operators.md")
    parser.add_argument("--list", action="store_true", help="print every case that is not ok")
    parser.add_argument("--show", action="store_true", help="print the programs, and what goes wrong in full")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    cases = chosen([] if args.write else args.patterns)
    kinds = suite.VARIANTS if args.write else args.kinds or ["plain"]
    if args.show:
        for case in cases:
            for kind in kinds:
                if (made := suite.variant(case, kind)) is not None:
                    print(made.name, kind)
                    print(*harness.compile_model(made.model, tune=True).ops, sep="\n")
    import onnxruntime  # noqa: F401  (before forking)
    import onnxsim  # noqa: F401
    from ai_edge_litert import interpreter  # noqa: F401

    if "saved-model" in kinds:
        import tensorflow  # noqa: F401
    found = {kind: run(kind, cases, args) for kind in kinds}
    if args.write:
        results.write(found)
        operators.main()
    return 0 if {v.status for verdicts in found.values() for _, v in verdicts} <= {OK, REFUSED} else 1


if __name__ == "__main__":
    sys.exit(main())
