"""From records to page: how many of our files and functions a reader has to follow, counted as
they are called."""

import shutil
import sys
import tempfile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
UNNAMED = ("<module>", "<lambda>", "<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>")


def run(full: bool = False) -> dict[str, Any]:
    """Of `results/quickstart`, which `make demo` leaves; of a made-up sweep with `full` or where
    it is missing."""
    from citrus_ray.report.files import write_report
    from tests.evidence.synthetic import MadeUp

    demo = ROOT / "results" / "quickstart"
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "quickstart"
        is_demo = demo.is_dir() and not full
        if is_demo:
            shutil.copytree(demo, home)
        else:
            MadeUp().write(home)
        called = calls_of(lambda: write_report([home], publish=False))
    named = {code for code in called if code.co_name not in UNNAMED}
    return {
        "of": "the demo's records" if is_demo else "a made-up sweep",
        "files": len({code.co_filename for code in called}),
        "functions": len(named),
        "with_unnamed": len(called),
    }


def calls_of(job: Any) -> set[CodeType]:
    """Code of ours that runs while `job` does."""
    called: set[CodeType] = set()
    ours = (str(ROOT / "citrus_ray"), str(ROOT / "analysis"))

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ours):
            called.add(frame.f_code)

    sys.setprofile(note)
    try:
        job()
    finally:
        sys.setprofile(None)
    return called
