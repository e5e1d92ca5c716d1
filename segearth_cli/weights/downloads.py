"""Weights brought to this machine: fetched or copied, checked, hashed, and only then put in place."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from segearth_cli.cache import sha256
from segearth_cli.errors import SegEarthError, UsageError, WeightsError, first_line
from segearth_cli.files import growing, make_folders, move, remove, write_text
from segearth_cli.weights.catalogue import CATALOGUE, PUBLISHED, CatalogueEntry, key
from segearth_cli.weights.http import Patience, Report, discard, fetch, unreachable
from segearth_cli.weights.load import Clip, load_checkpoint, load_clip, load_upsampler
from segearth_cli.weights.locate import (
    CONFIG,
    HUB,
    MINI,
    RECORD,
    SUFFIXES,
    Source,
    find,
    hub_file,
    image_facts,
    kept,
    kept_folder,
    repository,
    verified,
)
from segearth_cli.weights.openclip import HUB_NAMES, check_tower, hub_files, model_config, read_json, tag_config

Check = Callable[[Path], None]
_CHUNK = 1 << 20  # bytes copied at once


@dataclass(frozen=True, slots=True)
class Fetched:
    """Weights that are on this machine, checked."""

    path: Path
    """Of the weight file, or of the folder in the hub's cache."""
    sha256: str
    """Of the weight file."""
    fetched: bool
    """False = they were here already."""


def download(
    name: str,
    origin: str | None,
    *,
    overwrite: bool = False,
    patience: Patience | None = None,
    report: Report = lambda _done, _total: None,
) -> Fetched:
    """Brings a model or upsampler here: an entry of the catalogue, NAME:TAG of open_clip, or hf-hub:ORG/NAME.

    origin: a URL or file; None = the Hugging Face hub, or the entry's own address. Raises UsageError when a name needs
    an origin or is unknown, WeightsError when the origin fails, is damaged, or is not what the name stands for; nothing
    is kept then but what the next call resumes from.
    """
    if name == "mini":
        raise UsageError(f"download mini: it is embedded, there is nothing to fetch ({MINI})")
    entry = CATALOGUE.get(name)
    if entry and not entry.tag:
        own = kept(entry.key)
        if origin is None and own and not overwrite:
            return Fetched(own, sha256(own), fetched=False)
        if origin is None and entry.files:
            ours = Source(entry.name, architecture=entry.architecture)
            found = _from_hub(name, entry.hub, (), entry.files, overwrite, lambda p: load_checkpoint(ours, p))
            return _instead_of(own, found)
        place, check = _needed(entry, origin), _entry_check(entry)
        try:
            return _keep(entry.key, place, check, overwrite, patience or Patience(), report)
        except WeightsError as e:
            if origin is not None:
                raise
            raise WeightsError(f"{e}; or get {entry.origin} by hand and give it with --from") from None
    source = _named(name)
    if source is None:
        if origin:
            raise UsageError(f"download {name}: takes no --from; the repository is the origin")
        repo = repository(name, "download")
        return _from_hub(name, repo, (CONFIG,), HUB_NAMES, overwrite, lambda _path: load_clip(name))
    repo, *files = hub_files(tag_config(source.architecture, source.tag))
    folder = key(source.architecture, source.tag)
    if origin is None:
        own = kept(folder)
        if own and not overwrite:
            return Fetched(own, _checked(load_clip(source.name)), fetched=False)
        found = _from_hub(source.name, repo, (), tuple(files), overwrite, lambda p: load_checkpoint(source, p))
        return _instead_of(own, found)
    return _keep(folder, origin, lambda p: _check_model(source, p), overwrite, patience or Patience(), report)


def _instead_of(own: Path | None, found: Fetched) -> Fetched:
    """What came from the hub, without what had come with --from, which would be found before it."""
    if own:
        remove(own.with_name(RECORD))
        remove(own)
    return found


def _named(name: str) -> Source | None:
    """The architecture and tag of a name; None for a repository of the hub."""
    if name.startswith(HUB):
        return None
    source = find(name)
    if not source.tag:
        raise UsageError(
            f"download {name}: names files of this machine; need a name or NAME:TAG, see `segearth models`"
        )
    return source


def _needed(entry: CatalogueEntry, origin: str | None) -> str:
    if origin is None and entry.address:
        return entry.address
    if origin is None:
        raise UsageError(
            f"download {entry.name}: needs --from URL|FILE; get {entry.origin} (licence: {entry.licence}; "
            "segearth does not pass it on)"
        )
    return origin


def _entry_check(entry: CatalogueEntry) -> Check:
    if entry.is_model:
        return lambda path: _check_model(Source(entry.name, architecture=entry.architecture), path)
    return lambda path: _check_upsampler(entry, path)


def _check_model(source: Source, path: Path) -> None:
    _checked(load_checkpoint(source, path))


def _checked(clip: Clip) -> str:
    """The SHA-256 of the weights of a model whose text side fits too; raises WeightsError when it does not."""
    clip.whole()
    clip.words()
    return clip.sha256


def _check_upsampler(entry: CatalogueEntry, path: Path) -> None:
    if entry.git_blob and (blob := git_blob(path)) != entry.git_blob:
        raise WeightsError(
            f"{path}: not the published file: git blob {blob[:12]}, {path.stat().st_size} bytes; "
            f"need {entry.git_blob[:12]}, {entry.size} bytes"
        )
    facts = image_facts(PUBLISHED)
    load_upsampler(str(path), channels=facts.channels, patch=facts.patch, model_sha256="")


def git_blob(path: Path) -> str:
    """The SHA-1 under which git stores a file's content."""
    digest = sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _keep(folder: str, origin: str, check: Check, overwrite: bool, patience: Patience, report: Report) -> Fetched:
    """Brings a file into the cache folder. A second process waits for the first one and then finds the file here."""
    from filelock import FileLock

    home = kept_folder(folder)
    try:
        make_folders([home])
    except SegEarthError as e:
        raise WeightsError(f"{e}; choose another place with SEGEARTH_CACHE") from None
    try:
        with FileLock(home / ".lock"):
            here = kept(folder)
            if here and not overwrite:
                return Fetched(here, sha256(here), fetched=False)
            part = home / f"part{_suffix(origin)}"
            _bring(origin, part, patience, report)
            try:
                _refuse_text(part)
                check(part)
            except WeightsError as e:
                discard(part)
                raise WeightsError(str(e).replace(str(part), origin)) from None
            return _put(part, here, origin)
    except OSError as e:
        raise WeightsError(
            f"{home}: cannot be written: {e.strerror or e}; choose another with SEGEARTH_CACHE"
        ) from None


def _bring(origin: str, part: Path, patience: Patience, report: Report) -> None:
    if _is_url(origin):
        fetch(origin, part, patience=patience, report=report)
        return
    file = Path(origin).expanduser()
    if not file.is_file():
        raise WeightsError(f"--from {origin}: no such file")
    discard(part)
    with file.open("rb") as source, growing(part, resumed=False) as f:
        shutil.copyfileobj(source, f, _CHUNK)


def _put(part: Path, old: Path | None, origin: str) -> Fetched:
    """Names a checked file `weights` and records its hash; at every moment there is a whole file or none."""
    path, record = part.with_name(f"weights{part.suffix}"), part.with_name(RECORD)
    digest = sha256(part)
    remove(record)
    move(part, path)
    if old and old != path:
        remove(old)
    write_text(record, json.dumps({"origin": origin, "sha256": digest, "bytes": path.stat().st_size}, indent=1))
    return Fetched(path, digest, fetched=True)


def _from_hub(
    spec: str,
    repo: str,
    needed: tuple[str, ...],
    any_of: tuple[str, ...],
    overwrite: bool,
    loaded: Callable[[Path], Clip],
) -> Fetched:
    """Brings files into the Hugging Face cache (HF_HOME, HF_HUB_OFFLINE and proxies are honoured) and loads them.

    loaded: the model of a weight file.
    """
    here = hub_file(repo, *any_of)
    if here and not overwrite and all(hub_file(repo, file) for file in needed):
        return Fetched(here, _checked(loaded(here)), fetched=False)
    for file in needed:
        path = _hub_download(spec, repo, file, overwrite)
        if path is None:
            raise WeightsError(f"{spec}: the repository {repo} holds no {file}: not a model of open_clip")
        check_tower(f"--model {spec}", model_config(path, read_json(path)))  # before the weights, which are large
    path = next((path for file in any_of if (path := _hub_download(spec, repo, file, overwrite))), None)
    if path is None:
        raise WeightsError(f"{spec}: the repository {repo} holds none of {', '.join(any_of)}")
    verified(path)  # before the time that loading takes
    return Fetched(path, _checked(loaded(path)), fetched=True)


def _hub_download(spec: str, repo: str, file: str, overwrite: bool) -> Path | None:
    """A file of a repository; None when the repository has no such file."""
    from huggingface_hub import constants, errors, hf_hub_download, is_offline_mode

    by_hand = "" if spec.startswith(HUB) else f"; or get it from https://huggingface.co/{repo} and give it with --from"
    try:
        if not is_offline_mode() and (why := unreachable(constants.ENDPOINT)):  # its library tries for half a minute
            raise ConnectionError(why)
        with _without_its_tries():
            return Path(hf_hub_download(repo, file, force_download=overwrite))
    except errors.LocalEntryNotFoundError as e:
        cause = "HF_HUB_OFFLINE is set" if is_offline_mode() else first_line(e.__cause__ or e)
    except errors.EntryNotFoundError:
        return None
    except errors.RepositoryNotFoundError:
        cause = "the hub has no such repository that you may read"
    except Exception as e:  # whatever its HTTP library raises
        cause = first_line(e)
    raise WeightsError(f"{spec}: {repo}/{file} cannot be fetched: {cause}{by_hand}")


@contextmanager
def _without_its_tries() -> Iterator[None]:
    """Without the lines of the hub's library on each try that failed: the last one's reason is told in ours."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _refuse_text(path: Path) -> None:
    """Raises WeightsError for what servers give instead of weights."""
    with path.open("rb") as f:
        start = f.read(200).lstrip()
    if start.startswith(b"<"):
        raise WeightsError(f"{path}: a web page, not weights; need the address of the file itself (on GitHub: raw)")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path}: a Git LFS pointer, not weights; need the file that it stands for")


def _suffix(origin: str) -> str:
    suffix = PurePosixPath(urlsplit(origin).path if _is_url(origin) else origin).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"--from {origin}: no weight file by its name; need one of {', '.join(SUFFIXES)}")
    return suffix


def _is_url(origin: str) -> bool:
    return origin.startswith(("http://", "https://"))
