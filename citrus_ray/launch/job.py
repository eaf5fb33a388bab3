"""Ray jobs on a cluster's head: start a sweep as one, or look in on the one that runs. `remote.py`
calls this over ssh.

`python -m citrus_ray.launch.job NAME [FLAG…]`, in the folder with the code and `spec.yaml`. The job
belongs to the cluster: it goes on when whoever looks in goes away.
"""

import asyncio
import json
import os
import shlex
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from citrus_ray.records import write_text
from citrus_ray.spec import digest_of

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

DASHBOARD = "http://127.0.0.1:8265"
ENDED = "ended.json"  # how the job ended, beside the spec
LOST = 1  # the exit code of a job that Ray has none of
LOOK_EVERY_S = 1.0


def main(argv: list[str]) -> int:
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads it when it is imported
    from ray.job_submission import JobSubmissionClient

    name, *flags = argv
    here = Path.cwd()
    (here / ENDED).unlink(missing_ok=True)
    client = JobSubmissionClient(os.environ.get("RAY_API_SERVER_ADDRESS", DASHBOARD))
    spec = digest_of([(here / "spec.yaml").read_text(), flags])
    running = under_way(client, name)
    if running and running.metadata["spec"] != spec:
        job = running.submission_id
        what = f"a sweep of this name with another spec or other flags runs as job {job}"
        way = f"wait for it, stop it on the head with `ray job stop {job}`, or rename this one"
        print(f"{name}: {what}; {way}", file=sys.stderr)
        return _end(here, 2)
    job = running.submission_id if running else submit(client, name, flags, spec, here)
    assert job is not None
    what = "looking in on" if running else "started"
    print(f"{name}: {what} job {job}; it goes on without this terminal", flush=True)
    asyncio.run(follow(client, job))
    return _end(here, exit_code(client, job))


def under_way(client: "JobSubmissionClient", name: str) -> "JobDetails | None":
    """The job of this name that has not ended, if there is one."""
    for job in client.list_jobs():
        mine = (job.metadata or {}).get("sweep") == name and job.submission_id
        if mine and not job.status.is_terminal():
            return job
    return None


def submit(
    client: "JobSubmissionClient", name: str, flags: list[str], spec: str, here: Path
) -> str:
    """Start the sweep; the name of its job."""
    call = [sys.executable, "-m", "citrus_ray", "run", "spec.yaml", "--address", "auto"]
    call += ["--out", str(results(name)), *flags]
    commit = os.environ.get("CITRUS_COMMIT")
    variables = ["PYTHONUNBUFFERED=1", *([f"CITRUS_COMMIT={commit}"] if commit is not None else [])]
    job: str = client.submit_job(
        entrypoint=shlex.join(["env", *variables, *call]),
        submission_id=f"{name}-{uuid.uuid4().hex[:8]}",
        # every node gets this code, those that come later too
        runtime_env={"working_dir": str(here)},
        metadata={"sweep": name, "spec": spec},
    )
    link = here.parent / "results"
    link.unlink(missing_ok=True)
    link.symlink_to(results(name))
    return job


def results(name: str) -> Path:
    """A folder in `$CITRUS_RESULTS`, which the cluster file sets to one that all nodes see."""
    root = os.environ.get("CITRUS_RESULTS") or Path.home() / "citrus_results"
    return Path(root).expanduser() / name


async def follow(client: "JobSubmissionClient", job: str) -> None:
    """Print what it says, from its beginning, until it ends."""
    while not client.get_job_status(job).is_terminal():
        async for text in client.tail_job_logs(job):
            print(text, end="", flush=True)
        await asyncio.sleep(LOOK_EVERY_S)


def exit_code(client: "JobSubmissionClient", job: str) -> int:
    for _ in range(10):  # the code comes a moment after the last line
        info = client.get_job_info(job)
        if info.status.is_terminal():
            break
        time.sleep(LOOK_EVERY_S)
    if info.driver_exit_code is None:
        print(f"{info.status}: {info.message}", file=sys.stderr)
    return LOST if info.driver_exit_code is None else info.driver_exit_code


def _end(here: Path, code: int) -> int:
    write_text(here / ENDED, json.dumps({"exit_code": code}))
    return 0  # of looking in; what became of the sweep stands in the file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
