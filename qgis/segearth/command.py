"""The command line run as a process of its own: found, started, listened to, stopped."""

import os
import queue
import re
import shutil
import subprocess
import threading
from pathlib import Path

from qgis.core import QgsProcessingException

SETTING = "SEGEARTH_EXECUTABLE"  # of Processing's options, and an environment variable for scripts
# What QGIS sets for its own Python, GDAL and PROJ, and would mislead those of another environment.
_OF_QGIS = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB",
            "PROJ_DATA")  # fmt: skip
_DONE = re.compile(r"(\d+)/(\d+) \w+")
_SECONDS = "1"  # between lines of progress
_POLL, _PATIENCE = 0.2, 15  # seconds: between looks at the cancel button, and for segearth to clear up


def executable():
    """The path of segearth: of the environment, of the setting, else as the system finds it.

    Raises QgsProcessingException when there is none.
    """
    from processing.core.ProcessingConfig import ProcessingConfig

    named = os.environ.get(SETTING) or ProcessingConfig.getSetting(SETTING) or ""
    found = shutil.which(str(Path(named).expanduser()) if named else "segearth")
    if found is None:
        what = f"{named}: is no program" if named else "segearth was not found"
        raise QgsProcessingException(
            f"{what}; install it (pip install segearth) and name its path in Settings, Options, Processing, Providers, "
            f"SegEarth, or in the environment variable {SETTING}"
        )
    return found


def run(arguments, feedback):
    """What `segearth ARGUMENTS` prints; its messages and progress go to `feedback`, which may cancel it.

    Raises QgsProcessingException with its error line when it fails.
    """
    words = [executable(), *map(str, arguments)]
    feedback.pushCommandInfo(" ".join(_quoted(word) for word in words))
    environment = {key: text for key, text in os.environ.items() if key not in _OF_QGIS}
    environment.update(SEGEARTH_PROGRESS=_SECONDS, PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8")
    quiet = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {}
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=environment, **quiet)  # fmt: skip
    except OSError as e:
        raise QgsProcessingException(f"{words[0]}: cannot be started: {e.strerror}") from e
    printed, told = _listened(process, feedback)
    if feedback.isCanceled():
        feedback.pushInfo("Cancelled; nothing half-written is left.")
        return ""
    if process.returncode:
        raise QgsProcessingException(told[-1] if told else f"segearth ended with code {process.returncode}")
    return printed


def _listened(process, feedback):
    """All of stdout and the lines of stderr of a process, which is stopped when the user cancels."""
    lines, printed, told = queue.Queue(), [], []

    def follow(stream, name):
        with stream:
            for line in stream:
                lines.put((name, line.decode("utf-8", "replace").rstrip("\r\n")))
        lines.put((name, None))

    for stream, name in ((process.stdout, "out"), (process.stderr, "err")):
        threading.Thread(target=follow, args=(stream, name), daemon=True).start()
    open_streams = 2
    while open_streams:
        if feedback.isCanceled():
            _stop(process)
        try:
            name, line = lines.get(timeout=_POLL)
        except queue.Empty:
            continue
        if line is None:
            open_streams -= 1
        elif name == "out":
            printed.append(line)
        else:
            _tell(line, told, feedback)
    process.wait()
    return "\n".join(printed), told


def _tell(line, told, feedback):
    found = _DONE.search(line)
    if found and int(found[2]):
        feedback.setProgress(100 * int(found[1]) / int(found[2]))
        feedback.setProgressText(line)
    elif line.strip():
        told.append(line)
        feedback.pushInfo(line)


def _stop(process):
    if process.poll() is None:
        process.terminate()  # segearth removes what is half-written
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


def _quoted(word):
    return word if re.fullmatch(r"[\w./:=,+-]+", word) else "'" + word.replace("'", "'\\''") + "'"
