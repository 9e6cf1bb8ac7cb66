"""The worker process: `python -m one_api_llamacpp.worker PARENT`, frames in, frames out.

It lives for one model and never longer than the process numbered PARENT: it ends at once when its
input does, with nothing to put away, and the system takes back what it had. A crash of llama.cpp
ends it too, and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import BinaryIO, Final

from one_api.adapter import JsonObject
from one_api_llamacpp import frames
from one_api_llamacpp.model_worker import ModelWorker
from one_api_llamacpp.worker_settings import WorkerSettings

_PR_SET_PDEATHSIG: Final = 1


class Outgoing:
    """Frames to the parent, from any thread, one at a time and at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, message: JsonObject) -> None:
        """Send `message`. Blocks while the parent does not read, which holds the model up too."""
        frame = frames.encode(message)
        with self._lock:
            self._stream.write(frame)
            self._stream.flush()


def main() -> None:
    """Serve until the parent closes the pipe."""
    incoming, outgoing = _take_streams()
    _die_with(int(sys.argv[1]))
    _leave_no_core()
    try:
        message = frames.read(incoming)
        if message is None:
            return
        worker = ModelWorker(WorkerSettings.from_wire(message["settings"]), Outgoing(outgoing).send)
        threading.Thread(target=_run, args=(worker,), name="engine", daemon=True).start()
        while (message := frames.read(incoming)) is not None:
            worker.take(message)
    except frames.MalformedFrame as exc:
        _end(2, f"The gateway sent {exc}")
    # Without finalisers: the engine's thread may be in the middle of an evaluation.
    os._exit(0)


def _run(worker: ModelWorker) -> None:
    """What the one thread that may touch the model does."""
    try:
        worker.run()
    except BrokenPipeError:
        os._exit(0)  # the parent is gone
    except BaseException:  # noqa: BLE001 - nothing of the process is of use without this thread
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _end(code: int, message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(code)


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """The pipes from and to the parent, for nobody else: libraries print what they like."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


def _die_with(parent: int) -> None:
    """Have the system end this process with its parent, where it can.

    Elsewhere the end of the input does, unless the parent left it to another process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # gone before the line above
            os._exit(0)


def _leave_no_core() -> None:
    """A core dump would have people's conversations in it."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
