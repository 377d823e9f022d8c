"""`ns-talking batch`: many portraits on many machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

if TYPE_CHECKING:
    from nerfstudio_talking.batch import Jobs


@dataclass
class Batch:
    """Make all datasets, portraits, speaking videos and scores of a job file, on this machine or on a Ray cluster.

    Outputs are stored by the digest of their inputs and options. The same command again makes only what is missing. A
    stage that fails is tried again, then set aside with its message, while all that does not need it goes on.
    """

    jobs: tyro.conf.Positional[Path]
    """The job file (YAML); docs/batch.md describes it."""
    output: str | None = None
    """Folder or URL (s3://BUCKET/FOLDER) of the outputs; the job file's where not given."""
    address: str | None = None
    """Address of a Ray cluster, 'auto' for one on this machine; Ray is started for this run alone where not given."""
    num_cpus: int | None = None
    """Number of CPUs to use without --address; as many as there are cores where not given."""
    dry_run: bool = False
    """Whether to print the plan, and what of it is finished, without running anything."""
    retries: int | None = None
    """Number of further tries of a stage that failed; the job file's, else 2, where not given."""
    failed: Literal["retry", "keep"] = "retry"
    """What happens to stages that an earlier run set aside: 'retry' tries them again, 'keep' leaves them."""
    collect: str | None = None
    """Folder or URL that finished videos and scores are copied to, as VIDEO/RECIPE/VOICE.mp4 and .json."""
    scratch: Path | None = None
    """Scratch folder on each machine; one in the system's temporary folder where not given."""
    cache_gb: float = 20.0
    """Gigabytes of datasets and portraits that each machine keeps in its scratch folder for other stages."""

    def main(self) -> None:
        """Plan, run, print the summary; raise where a stage failed."""
        from nerfstudio_talking.batch import RayOptions, RetryPolicy, RunOptions, Storage, collect, load_jobs, plan, run

        if self.address is not None and self.num_cpus is not None:
            hint = "A cluster's machines say themselves how many CPUs they have."
            raise TalkingError("--num-cpus", expected="no --address with it", found="both", hint=hint)
        for option, value, least in (
            ("--retries", self.retries, 0),
            ("--num-cpus", self.num_cpus, 1),
            ("--cache-gb", self.cache_gb, 0),
        ):
            if value is not None and value < least:
                raise TalkingError(option, expected=f"at least {least}", found=f"{value:g}", hint="Leave it out.")
        jobs = load_jobs(self.jobs)
        storage = Storage(self._output(jobs))
        stages = plan(jobs, storage)
        if self.dry_run:
            from nerfstudio_talking.batch.progress import plan_table

            CONSOLE.print(plan_table(stages, storage.finished()))
            return
        retries = self.retries if self.retries is not None else jobs.retries
        options = RunOptions(
            ray=RayOptions(self.address, self.num_cpus),
            policy=RetryPolicy() if retries is None else RetryPolicy(retries=retries),
            retry_failed=self.failed == "retry",
            scratch=None if self.scratch is None else self.scratch.absolute(),
            cache_gb=self.cache_gb,
        )
        report = run(stages, storage, options, str(self.jobs))
        if self.collect is not None:
            target = self.collect if "://" in self.collect else str(Path(self.collect).absolute())
            count = collect(stages, storage, target)
            CONSOLE.print(f"Copied {count} files to {escape(target)}.", soft_wrap=True)
        report.raise_for_failures()
        CONSOLE.print(f"[green]All {len(stages)} stages are done: {escape(storage.url)}", soft_wrap=True)

    def _output(self, jobs: Jobs) -> str:
        output = self.output if self.output is not None else jobs.output
        if output is None:
            hint = "Give --output, or write output: in the job file."
            raise TalkingError(self.jobs, expected="a folder or URL for the outputs", found="none", hint=hint)
        return output if "://" in output else str(Path(output).absolute())
