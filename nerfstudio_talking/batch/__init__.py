"""Many portraits on many machines: `ns-talking batch`, and the same in Python.

    jobs = load_jobs(Path("JOBS.yaml"))
    storage = Storage("s3://bucket/portraits")
    report = run(plan(jobs, storage), storage, RunOptions(ray=RayOptions(address="auto")))
    report.raise_for_failures()

The plan and all that is decided (`stages`, `planning`, `scheduling`) know nothing of Ray; `ray_runner` alone does.
docs/batch.md describes the job file and the storage.
"""

from nerfstudio_talking.batch.job_file import Jobs, load_jobs
from nerfstudio_talking.batch.planning import Plan
from nerfstudio_talking.batch.ray_runner import RayOptions
from nerfstudio_talking.batch.running import Report, RunOptions, collect, plan, run
from nerfstudio_talking.batch.scheduling import RetryPolicy
from nerfstudio_talking.batch.stages import Resources, Stage
from nerfstudio_talking.batch.storage import Storage

__all__ = [
    "Jobs",
    "Plan",
    "RayOptions",
    "Report",
    "Resources",
    "RetryPolicy",
    "RunOptions",
    "Stage",
    "Storage",
    "collect",
    "load_jobs",
    "plan",
    "run",
]
