"""The processes of one launch: started, watched, started again or ended."""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from probinf.launch.child import JOB, JOBS, MEETING
from probinf.launch.groups import GROUPS, ask_to_end, kill

_GRACE = 2.0  # seconds between asking a process to end and ending it
_CHILD = "from probinf.launch.child import child; child()"
_SHARED_PORTS = sys.platform == "linux"  # gRPC, which listens, binds one that is bound already


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the processes, see them through, and return the exit code."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    try:
        return _Launch(given).run()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m probinf.launch",
        description="Run a script in several processes, as one computation or apart.",
    )
    parser.add_argument("-n", type=_count(1), required=True, help="processes")
    parser.add_argument("--devices", type=_count(1), help="CPU devices of each process")
    parser.add_argument(
        "--restarts",
        type=_count(0),
        default=0,
        help="times that processes which end with an error are started again; a script with "
        "pi.sample(..., checkpoint=folder, resume=True) then goes on from there",
    )
    parser.add_argument(
        "--apart",
        action="store_true",
        help="independent processes that share only the disk: one that is lost takes nothing "
        "else with it",
    )
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _count(least: int) -> Any:
    def whole(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return whole


def _leave(*_: Any) -> None:
    raise SystemExit(128 + signal.SIGTERM)


class _Launch:
    """The processes of one launch."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.left = given, given.restarts
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.ended: queue.Queue[tuple[subprocess.Popen[bytes], int]] = queue.Queue()
        self.meeting, self.port = "", socket.socket()

    def run(self) -> int:
        """Until all have ended; no process outlives this."""
        with self._nobody_left():
            self._start(range(self.given.n))
            code = 0
            while self.running:
                process, number = self.ended.get()
                if self.running.get(number) is not process:
                    continue  # one that was ended here
                del self.running[number]
                kill(process)
                if process.returncode != 0:
                    code = self._failed(number, process.returncode) or code
            return code

    def _start(self, numbers: Sequence[int] | range) -> None:
        if not self.given.apart:
            self.meeting = f"127.0.0.1:{self._free_port()}"
        for number in numbers:
            environment = {**os.environ, JOB: str(number), JOBS: str(self.given.n)}
            environment.pop(MEETING, None)
            if self.meeting:
                environment[MEETING] = self.meeting
            if self.given.devices is not None:
                environment["JAX_NUM_CPU_DEVICES"] = str(self.given.devices)
            # its input closes when this process ends, however it ends
            process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, self.given.script, *self.given.arguments],
                env=environment,
                stdin=subprocess.PIPE,
                start_new_session=GROUPS,  # with what the script itself starts
            )
            self.running[number] = process
            threading.Thread(target=self._wait, args=(process, number), daemon=True).start()

    def _free_port(self) -> int:
        """A port that no other program is given before the first process listens there."""
        self.port.close()
        self.port = socket.socket()
        if _SHARED_PORTS:
            self.port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.port.bind(("127.0.0.1", 0))
        number = int(self.port.getsockname()[1])
        if not _SHARED_PORTS:
            self.port.close()
        return number

    def _wait(self, process: subprocess.Popen[bytes], number: int) -> None:
        process.wait()
        self.ended.put((process, number))

    def _failed(self, number: int, code: int) -> int:
        """What to do about a process that has failed; the exit code that this means."""
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"failed (exit code {code})"
        said = f"process {number} of {self.given.n} {how}"
        again, meant = self.left > 0, 128 - code if code < 0 else code
        self.left -= again
        if self.given.apart:
            _tell(f"{said}; {'it is started again' if again else 'the others go on without it'}")
            if again:
                self._start([number])
            return 0 if again else meant
        self._end()
        if again:
            _tell(f"{said}; all are started again ({self.left} more times if need be)")
            self._start(range(self.given.n))
            return 0
        _tell(
            f"{said}; the others were ended, since they would wait for it forever. With "
            "--restarts 1 and pi.sample(..., checkpoint=, resume=True) all go on from there."
        )
        return meant

    def _end(self) -> None:
        """End those that still run, and what they have started."""
        processes, self.running = list(self.running.values()), {}
        for process in processes:
            ask_to_end(process)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
            kill(process)
            process.wait()

    @contextlib.contextmanager
    def _nobody_left(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._end()
            self.port.close()


def _tell(text: str) -> None:
    print(f"probinf.launch: {text}", file=sys.stderr, flush=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
