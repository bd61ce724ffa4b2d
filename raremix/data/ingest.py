"""A data set's images to square PNGs."""

import hashlib
import json
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from raremix.data import codestream, dicom, header, images, pixels
from raremix.data.inventory import DICOM
from raremix.data.pixels import Fit, UnreadableError, decode_picture, fit
from raremix.data.records import Bad, Record
from raremix.runtime.cores import cores
from raremix.runtime.errors import UserError, one_line
from raremix.runtime.files import replacing, sha256
from raremix.runtime.progress import track

DECODERS = (codestream, dicom, header, images, pixels)  # what is converted by others of these is converted again
QUOTED = re.compile(r"""['"`].*""", re.DOTALL)  # from the first quote on: apostrophes pair with none
DIED = "a process died over it, alone as well: it crashes its decoder, or takes more memory than there is"
LESS_MEMORY = "free memory or use fewer cores, as by `taskset --cpu-list 0 dvc repro ingest`"


@dataclass(frozen=True)
class Job:
    """One image to convert, and the note that it is done."""

    source: Path
    sha256: str
    target: Path
    size: int  # pixels a side
    window: dicom.Window
    code: str  # hash of what converts it
    note: Path


@dataclass(frozen=True)
class Seen:
    """A record whose image was converted."""

    record: Record
    header: dict[str, str]  # facts of the image's own header
    fit: Fit
    png: str  # SHA-256 of what was made of it

    @property
    def facts(self) -> dict[str, str]:
        """The header's and, overruling them, the record's."""
        return self.header | self.record.facts


Converted = tuple[dict[str, str], Fit, str]  # facts of the header, fit, SHA-256 of the PNG


@contextmanager
def converted(
    records: Sequence[Record],
    root: Path,
    inventory: dict[str, str],
    folder: Path,
    size: int,
    window: dicom.Window,
) -> Iterator[tuple[list[Seen], list[Bad]]]:
    """Write each record's image as ``folder/<image_id>.png``, over all cores; one that fails is set aside.

    So is one over which a process dies twice, the second time with no other beside it.

    ``folder`` is replaced as a whole when the block ends well. What an interrupted run had converted, or one whose
    block raised, is kept beside it, and not done again if source, size, window and code are the same. Bytes and order
    depend neither on the cores nor on interruptions.

    Raises:
        UserError: an image that is there can't be read, or workers die over none in particular; says what to do.
    """
    with _replaced(folder) as (new, notes):
        code = _code()
        jobs = [
            Job(
                root / r.path,
                inventory[r.path],
                new / f"{r.image_id}.png",
                size,
                window,
                code,
                notes / f"{r.image_id}.json",
            )
            for r in records
        ]
        _only({job.target for job in jobs}, new)
        found = list(zip(records, _all(jobs), strict=True))
        seen = [Seen(r, *x) for r, x in found if not isinstance(x, str)]
        yield seen, [Bad(r.path, x) for r, x in found if isinstance(x, str)]


def check_bad(seen: Sequence[Seen], bad: Sequence[Bad], most: float, file: Path) -> None:
    """Refuse a data set of which more than the share ``most`` is set aside.

    Raises:
        UserError: with the first image's reason and the file that lists them all.
    """
    share = len(bad) / max(1, len(bad) + len(seen))
    if bad and share > most:
        raise UserError(
            f"{len(bad)} of {len(bad) + len(seen)} images can't be used, more than ingest.max_bad = {most:g} allows; "
            f"the first: {bad[0].path}: {bad[0].reason}; {file} lists all; mend them or raise ingest.max_bad"
        )
    if not seen:
        raise UserError(f"no image to ingest; check data.root and {file}")


def _all(jobs: list[Job]) -> Iterator[Converted | str]:
    for job in jobs:
        _begun(job).unlink(missing_ok=True)
        _fatal(job).unlink(missing_ok=True)
    yield from track(_whatever_dies(jobs), "ingest", total=len(jobs))


def _whatever_dies(jobs: list[Job]) -> Iterator[Converted | str]:
    """The results in order. What workers were at when one died is tried again, each image alone."""
    done = 0
    while done < len(jobs):
        try:
            for result in _side_by_side(jobs[done:], cores()):
                yield result
                done += 1
        except BrokenProcessPool:
            suspects = [job for job in jobs if _begun(job).is_file()]
            if not suspects:
                raise UserError(f"ingest: processes die before they begin an image; {LESS_MEMORY}") from None
            for job in suspects:
                _alone(job)


def _side_by_side(jobs: list[Job], workers: int) -> Iterator[Converted | str]:
    with ProcessPoolExecutor(workers, initializer=_leave_interrupts_to_parent) as pool:
        try:
            yield from pool.map(_convert, jobs, chunksize=4)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _alone(job: Job) -> None:
    """Convert the image while nothing else is, or note that a process dies over it."""
    try:
        list(_side_by_side([job], 1))
    except BrokenProcessPool:
        _begun(job).unlink()
        _fatal(job).touch()


def _begun(job: Job) -> Path:
    """The file that is there while a worker is busy with the image, or has died over it."""
    return job.note.with_suffix(".begun")


def _fatal(job: Job) -> Path:
    """The file that is there once a worker has died over the image alone."""
    return job.note.with_suffix(".fatal")


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _convert(job: Job) -> Converted | str:
    """The image's facts and fit, or the reason why it can't be used."""
    if done := _noted(job):
        return done
    if _fatal(job).is_file():
        return DIED
    _begun(job).touch()
    result = _converted(job)
    _begun(job).unlink()
    return result


def _converted(job: Job) -> Converted | str:
    try:
        content = job.source.read_bytes()
    except FileNotFoundError:
        return "listed in inventory.csv, but missing"
    except OSError as error:  # of the disk, the network or permissions: it says nothing of the image
        raise UserError(f"{job.source}: can't be read ({error.strerror}); mend that and run it again") from None
    try:
        if hashlib.sha256(content).hexdigest() != job.sha256:
            raise UnreadableError("its sha256 is not inventory.csv's; get it again, or run `dvc repro -f acquire`")
        if job.source.suffix.lower() in DICOM:
            grey, facts = dicom.decode(header.mended(content), job.window)
        else:
            grey, facts = decode_picture(content), {}
        square, where = fit(grey, job.size)
    except MemoryError:
        raise UserError(f"{job.source}: too little memory to convert it; {LESS_MEMORY}") from None
    except Exception as error:  # decoders raise what they like; one bad image must not end the run
        return _reason(error)
    images.save(square, job.target)
    png = sha256(job.target)
    with replacing(job.note) as part:
        part.write_text(json.dumps({"of": _of(job), "png": png, "facts": facts, "fit": asdict(where)}))
    return facts, where, png


def _noted(job: Job) -> Converted | None:
    """What an interrupted run found of the same image; nothing if it did not come to it.

    Its note may stand beside a picture that a later run, with other params, was killed over, or that a power failure
    has emptied; so may the note be.
    """
    if not (job.note.is_file() and job.target.is_file()):
        return None
    try:
        note = json.loads(job.note.read_text())
        same = note["of"] == _of(job) and note["png"] == sha256(job.target)
        return (note["facts"], Fit(**note["fit"]), note["png"]) if same else None
    except (ValueError, KeyError, TypeError):
        return None


def _of(job: Job) -> list[Any]:
    """What an image is made of."""
    return [job.sha256, job.size, job.window, job.code]


def _code() -> str:
    """A hash of the decoders' source and versions."""
    parts = [sha256(Path(str(module.__file__))) for module in DECODERS]
    parts += [version(name) for name in ("pydicom", "python-gdcm", "pillow", "numpy")]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _only(targets: set[Path], folder: Path) -> None:
    """Remove what another data set's interrupted run has left in ``folder``."""
    for path in set(folder.iterdir()) - targets:
        path.unlink()


def _reason(error: Exception) -> str:
    """What is wrong with an image; a decoder's words up to what they quote, which may be a patient's name."""
    if isinstance(error, UnreadableError):
        return one_line(error)
    said = UnreadableError(QUOTED.sub("(...)", str(error)) or "no reason is told")
    return f"can't be decoded: {type(error).__name__}: {one_line(said)}"


@contextmanager
def _replaced(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A folder that takes ``folder``'s place if the block ends well, and one for notes; both stay if it does not."""
    new, notes = (folder.with_name(f".{folder.name}.{kind}") for kind in ("part", "notes"))
    for path in (new, notes):
        path.mkdir(parents=True, exist_ok=True)
    yield new, notes
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    shutil.rmtree(notes)  # last: what is killed before that goes on where it was
