"""The suite on several Pythons, and with the lowest versions that pyproject.toml allows.

    python -m tests.pythons                          # 3.10, 3.12 and 3.13, newest packages
    python -m tests.pythons 3.10 --lowest            # the lowest version of every direct dependency
    python -m tests.pythons 3.13 -- tests/ir -x      # what follows -- goes to pytest

Each Python gets an environment of its own in .venvs/, made by uv; an interpreter is looked for on the PATH, then under
pyenv, then uv is asked to fetch one.  The last lines say what ran and what did not.  Exit codes: 0 all ran and passed,
1 a suite failed or a set of packages does not resolve, 2 an interpreter is missing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venvs"
VERSIONS = ("3.10", "3.12", "3.13")
EXTRAS = ".[tensorflow,keras,report,fleet,test]"  # micro and ethos-u have no wheels for some
PASSED, FAILED, MISSING = 0, 1, 2


@dataclass(frozen=True)
class Outcome:
    """What became of one Python; ``code`` is one of PASSED, FAILED, MISSING."""

    name: str
    code: int
    what: str


def uv(*words: str) -> list[str]:
    return [sys.executable, "-m", "uv", *words]


def interpreter(version: str) -> str | None:
    """A Python of ``version`` that answers, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))]
    working = next((path for path in found if path and _answers(path, version)), None)
    if (
        working is None
        and subprocess.run(uv("python", "install", "--quiet", version), stderr=subprocess.DEVNULL).returncode == 0
    ):
        done = subprocess.run(uv("python", "find", "--managed-python", version), capture_output=True, text=True)
        working = done.stdout.strip() or None
    return working


def _answers(path: str, version: str) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-c", code], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == version


def run(version: str, lowest: bool, words: Sequence[str]) -> Outcome:
    """Resolve, install and test on one Python."""
    name = f"Python {version}{', lowest versions' if lowest else ''}"
    python = interpreter(version)
    if python is None:
        return Outcome(name, MISSING, "did not run: no such interpreter here, and none could be fetched")
    folder = HOME / f"{version}{'-lowest' if lowest else ''}"
    own = str(folder / "bin" / "python")
    resolution = ["--resolution", "lowest-direct"] if lowest else []
    for command in (uv("venv", "--quiet", "--allow-existing", "--python", python, str(folder)),
                    uv("pip", "install", "--quiet", "--python", own, *resolution, "-e", EXTRAS)):  # fmt: skip
        if subprocess.run(command, cwd=ROOT).returncode:
            return Outcome(name, FAILED, f"did not run: {' '.join(command[2:5])} failed")
    begun = time.monotonic()
    command = [own, "-m", "pytest", "-q", "-n", "2", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    last = ""
    for line in process.stdout or ():
        print(line, end="", flush=True)
        last = line.strip() or last
    code = FAILED if process.wait() else PASSED
    counts = re.sub(r" in .*", "", last.strip("= "))
    return Outcome(name, code, f"{counts}, {(time.monotonic() - begun) / 60:.0f} min")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pythons", description=__doc__.partition("\n")[0])
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"default: {' '.join(VERSIONS)}")
    parser.add_argument("--lowest", action="store_true", help="the lowest versions that pyproject.toml allows")
    words = list(sys.argv[1:] if argv is None else argv)
    at = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:at])
    outcomes = [run(version, args.lowest, words[at + 1 :]) for version in args.versions or VERSIONS]
    print("\n".join(f"{o.name}: {o.what}" for o in outcomes))
    return next((code for code in (FAILED, MISSING) if any(o.code == code for o in outcomes)), PASSED)


if __name__ == "__main__":
    raise SystemExit(main())
