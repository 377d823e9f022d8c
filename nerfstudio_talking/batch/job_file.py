"""The job file: which videos, portraits, voices and scores a batch makes."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nerfstudio_talking.batch.commands import check_option
from nerfstudio_talking.batch.stages import DEFAULT_RESOURCES, KINDS, Kind, Resources, Scalar
from nerfstudio_talking.batch.storage import find_files
from nerfstudio_talking.batch.yaml_nodes import NAME, YamlNode, read_yaml
from nerfstudio_talking.io.errors import TalkingError

_SEE = "docs/batch.md has an example."


@dataclass(frozen=True)
class Source:
    """A file that the job file names."""

    url: str
    """A path of this machine, or a URL that fsspec reads."""
    where: str
    """The place in the job file that names it, for messages."""


Value = Scalar | Source | tuple[Scalar | Source, ...]
Options = Mapping[str, Value]


@dataclass(frozen=True)
class Video:
    """A recording of one person, which becomes a dataset."""

    name: str
    """Its name in the job file; the stem of the file's name where a pattern found it."""
    source: Source
    """The video."""
    options: Options
    """Options of `ns-talking process`."""


@dataclass(frozen=True)
class Recipe:
    """How datasets become portraits."""

    name: str
    """Its name in the job file; a portrait is called VIDEO/RECIPE."""
    method: str
    """The method that `ns-train` trains."""
    videos: tuple[str, ...]
    """Names of the videos whose datasets it is trained on."""
    options: Options
    """Options of `ns-train`."""
    bake: Options | None
    """Options of `ns-talking bake`; None makes no bake."""


@dataclass(frozen=True)
class Speech:
    """A portrait speaks a voice."""

    name: str
    """VIDEO/RECIPE/VOICE, and the variant where there is one."""
    portrait: str
    """Name of the portrait."""
    voice: str
    """Name of the voice."""
    options: Options
    """Options of `ns-talking drive`."""
    where: str
    """The place in the job file that asks for it."""


@dataclass(frozen=True)
class Comparison:
    """A speaking portrait is scored against the ground truth."""

    speech: str
    """Name of the speaking portrait."""
    gt: Source
    """The ground truth video."""
    options: Options
    """Options of `ns-talking score`."""


@dataclass(frozen=True)
class Jobs:
    """A job file, read and checked; `load_jobs` makes it."""

    path: Path
    """The job file."""
    output: str | None
    """Folder or URL of the outputs."""
    videos: Mapping[str, Video]
    """Recordings by name."""
    recipes: Mapping[str, Recipe]
    """Ways to train by name."""
    voices: Mapping[str, Source]
    """Audio to speak, by name."""
    speeches: tuple[Speech, ...]
    """All pairs of portrait and voice."""
    comparisons: tuple[Comparison, ...]
    """All scores."""
    resources: Mapping[Kind, Resources] = field(default_factory=lambda: dict(DEFAULT_RESOURCES))
    """What a run of each kind of stage occupies."""
    retries: int | None = None
    """Number of further tries of a stage that failed, where the file says."""


def load_jobs(path: Path) -> Jobs:
    """Read a job file. Relative paths in it count from its folder.

    Args:
        path: the YAML file; docs/batch.md describes it.

    Raises:
        TalkingError: the file is missing, or something in it is wrong; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "Give a job file; docs/batch.md has an example."
        raise TalkingError(path, expected="a job file in YAML", found=str(error), hint=hint) from error
    return _Reader(path).read(read_yaml(text, str(path)))


class _Reader:
    """Reads one job file."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.absolute().parent
        self.common: dict[Kind, Options] = {}

    def read(self, root: YamlNode) -> Jobs:
        known = ("output", "videos", "portraits", "voices", "drives", "scores", "options", "resources", "retries")
        fields = root.fields(known, required=("videos",))
        if "options" in fields:
            for kind, node in fields["options"].fields(KINDS).items():
                self.common[kind] = self.options(node, kind)  # type: ignore[index, arg-type]
        videos = self.videos(fields["videos"])
        recipes = self.recipes(fields["portraits"], videos) if "portraits" in fields else {}
        voices = self.voices(fields["voices"]) if "voices" in fields else {}
        portraits = [f"{video}/{recipe.name}" for recipe in recipes.values() for video in recipe.videos]
        speeches = self.speeches(fields["drives"], portraits, voices) if "drives" in fields else ()
        comparisons = self.comparisons(fields["scores"], speeches, videos) if "scores" in fields else ()
        hint = "Give the number of further tries of a stage that failed."
        return Jobs(
            self.path,
            self.url(fields["output"].text("Give a folder, or a URL such as s3://bucket/folder."))
            if "output" in fields
            else None,
            videos,
            recipes,
            voices,
            speeches,
            comparisons,
            self.resources(fields["resources"]) if "resources" in fields else dict(DEFAULT_RESOURCES),
            int(fields["retries"].number(hint, whole=True)) if "retries" in fields else None,
        )

    def url(self, name: str) -> str:
        """A path made absolute; a URL as it is."""
        return name if "://" in name else str(self.folder / Path(name).expanduser())

    def source(self, node: YamlNode, hint: str) -> Source:
        return Source(self.url(node.text(hint)), node.where)

    def named_files(self, node: YamlNode, what: str) -> dict[str, tuple[Source, YamlNode | None]]:
        """Files by name: a mapping NAME: FILE or NAME: {file: FILE, ...}, or patterns whose files are named by stem."""
        hint = f"Write {what} as NAME: FILE, or give a pattern such as folder/*.*."
        found: dict[str, tuple[Source, YamlNode | None]] = {}
        if not node.is_mapping:
            for item in node.elements(hint) if node.is_list else [node]:
                pattern = self.url(item.text(hint))
                urls = find_files(pattern)
                if not urls:
                    item.fail("a pattern that finds files", "Relative paths count from the job file's folder.", pattern)
                for url in urls:
                    name = PurePosixPath(url).stem
                    self.check_name(name, item)
                    if name in found:
                        item.fail("files of different names", "Name them yourself: NAME: FILE.", f"{name} twice")
                    found[name] = Source(url, item.where), None
            return found
        for name, value in node.items(hint):
            self.check_name(name, value)
            if value.is_mapping:
                fields = value.fields(("file", "options"), required=("file",))
                found[name] = self.source(fields["file"], hint), fields.get("options")
            else:
                found[name] = self.source(value, hint), None
        return found

    def check_name(self, name: str, node: YamlNode) -> None:
        if not NAME.fullmatch(name):
            node.fail("a name of letters, digits, dots, dashes and underscores", "Choose another name.", repr(name))

    def videos(self, node: YamlNode) -> dict[str, Video]:
        common = self.common.get("process", {})
        return {
            name: Video(name, source, {**common, **(self.options(more, "process") if more else {})})
            for name, (source, more) in self.named_files(node, "videos").items()
        }

    def voices(self, node: YamlNode) -> dict[str, Source]:
        voices = {}
        for name, (source, more) in self.named_files(node, "voices").items():
            if more is not None:
                more.fail("no options of a voice", "Options of speaking belong to the entry of drives.", "options")
            voices[name] = source
        return voices

    def recipes(self, node: YamlNode, videos: Mapping[str, Video]) -> dict[str, Recipe]:
        recipes = {}
        for name, value in node.items("Write portraits as NAME: {method: METHOD, ...}."):
            self.check_name(name, value)
            fields = value.fields(("method", "videos", "options", "bake"), required=("method",))
            method = fields["method"].text("Give the name of a method, such as splat-portrait.")
            self.check_name(method, fields["method"])
            options = self.options(fields["options"], "train") if "options" in fields else {}
            recipes[name] = Recipe(
                name,
                method,
                self.select(fields.get("videos"), videos, "videos", value),
                {**self.common.get("train", {}), **options},
                self.bake(fields.get("bake")),
            )
        return recipes

    def bake(self, node: YamlNode | None) -> Options | None:
        common = self.common.get("bake", {})
        if node is None:
            return None
        if node.is_mapping:
            return {**common, **self.options(node, "bake")}
        return common if node.truth("Give true, or the options of ns-talking bake.") else None

    def speeches(self, node: YamlNode, portraits: list[str], voices: Mapping[str, Source]) -> tuple[Speech, ...]:
        found: dict[str, Speech] = {}
        for item in node.elements("Write drives as a list of {portraits: ..., voices: ...}."):
            fields = item.fields(("portraits", "voices", "options", "variant"))
            options = self.options(fields["options"], "drive") if "options" in fields else {}
            options = {**self.common.get("drive", {}), **options}
            variant = fields["variant"].text("Give a name.") if "variant" in fields else ""
            if variant:
                self.check_name(variant, fields["variant"])
            chosen_voices = self.select(fields.get("voices"), voices, "voices", item)
            for portrait in self.select(fields.get("portraits"), portraits, "portraits", item):
                for voice in chosen_voices:
                    name = f"{portrait}/{voice}" + (f"/{variant}" if variant else "")
                    before = found.get(name)
                    if before is not None and before.options != options:
                        hint = "Give one of them a variant: NAME."
                        item.fail("every pair of portrait and voice once", hint, f"{name} also in {before.where}")
                    found[name] = Speech(name, portrait, voice, options, item.where)
        return tuple(found.values())

    def comparisons(
        self, node: YamlNode, speeches: Iterable[Speech], videos: Mapping[str, Video]
    ) -> tuple[Comparison, ...]:
        by_name = {speech.name: speech for speech in speeches}
        found: dict[str, Comparison] = {}
        for item in node.elements("Write scores as a list of {drives: ..., gt: ...}."):
            fields = item.fields(("drives", "gt", "options"))
            options = self.options(fields["options"], "score") if "options" in fields else {}
            options = {**self.common.get("score", {}), **options}
            for name in self.select(fields.get("drives"), by_name, "drives", item):
                own = videos[by_name[name].portrait.split("/")[0]].source
                gt = self.gt(fields["gt"], videos) if "gt" in fields else own
                comparison = Comparison(name, gt, options)
                before = found.setdefault(name, comparison)
                if (before.gt.url, before.options) != (gt.url, options):
                    item.fail("one score of every drive", "Leave out one of the two entries.", f"{name} twice")
        return tuple(found.values())

    def gt(self, node: YamlNode, videos: Mapping[str, Video]) -> Source:
        name = node.text("Give the name of a video, or a file.")
        return videos[name].source if name in videos else Source(self.url(name), node.where)

    def select(self, node: YamlNode | None, names: Iterable[str], what: str, parent: YamlNode) -> tuple[str, ...]:
        """The names that match the patterns, all where there is no pattern, in the order of the file."""
        names = tuple(names)
        hint = f"Give names of {what}, or patterns such as 'a*'."
        if node is None:
            if not names:
                parent.fail(what, f"The job file has no {what} to choose from.", found="none")
            return names
        chosen: set[str] = set()
        for pattern in node.texts(hint):
            matches = fnmatch.filter(names, pattern)
            if not matches:
                some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
                node.fail(f"{what} of the job file", f"There are: {some or 'none'}.", found=repr(pattern))
            chosen.update(matches)
        return tuple(name for name in names if name in chosen)

    def options(self, node: YamlNode, kind: Kind) -> dict[str, Value]:
        """Options of a command, without dashes in front; `{file: PATH}` is a file."""
        hint = "Write options of the command as NAME: VALUE, without the dashes in front."
        found: dict[str, Value] = {}
        for name, value in node.items(hint):
            option = name if "." in name else name.replace("_", "-")
            if option in found:
                value.fail("every option once", "Dashes and underscores are the same.", f"{option} twice")
            parsed = self.value(value)
            problem = check_option(kind, option, parsed)
            if problem is not None:
                value.fail(*problem, found=f"{name}: {'...' if isinstance(parsed, (tuple, Source)) else parsed}")
            found[option] = parsed
        return found

    def value(self, node: YamlNode) -> Value:
        hint = "Give a single value, a list of them, or {file: PATH}."
        if node.is_list:
            return tuple(self.one_value(item, hint) for item in node.elements(hint))
        return self.one_value(node, hint)

    def one_value(self, node: YamlNode, hint: str) -> Scalar | Source:
        if node.is_mapping:
            return self.source(node.fields(("file",), required=("file",))["file"], hint)
        return node.scalar(hint)

    def resources(self, node: YamlNode) -> dict[Kind, Resources]:
        found = dict(DEFAULT_RESOURCES)
        hint = "Give numbers of cpus, gpus, memory_gb, timeout_min for a kind of stage."
        for kind, value in node.fields(KINDS).items():
            fields = value.fields(("cpus", "gpus", "memory_gb", "timeout_min"))
            numbers = {name: item.number(hint) for name, item in fields.items()}
            for name in ("cpus", "timeout_min", "memory_gb"):
                if numbers.get(name, 1) == 0:
                    fields[name].fail("more than 0", hint)
            if numbers.get("gpus", 0) > 1 and numbers["gpus"] % 1:
                fields["gpus"].fail("a whole number above 1, or a fraction of one GPU", hint)
            found[kind] = Resources(**{**vars(found[kind]), **numbers})  # type: ignore[index, arg-type]
        return found
