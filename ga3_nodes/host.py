"""The worker process: loads a module's ``worker.py`` and serves calls to its functions.

It is started by path, with the module environment's own interpreter::

    python host.py MODULE_DIR --serve ROOT [--dev]
    python host.py MODULE_DIR --once --function F --input in.npy --output out.npy --param name=value
    python host.py MODULE_DIR --selftest

MODULE_DIR holds ``worker.py`` and ``module.json`` (a generation), or ``module.toml`` (a module's
source folder, with Python 3.11 or later). The main thread runs the calls one after the other, since
some libraries are bound to the thread that imported them; each connection has a thread that reads.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

if not __package__:  # started by path: the folder above is what makes the package importable
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from ga3_nodes import (
    __version__,
    devices,
    devmode,
    functions,
    home,
    leases,
    oneshot,
    records,
    spawn,
    wire,
)
from ga3_nodes.edited_worker import EditedWorker
from ga3_nodes.errors import BadInput, Cancelled, GA3EnvError, ModuleFailed
from ga3_nodes.peers import SLOTS, Peer
from ga3_nodes.running import Running

EXIT_FAILED = 1
EXIT_ABANDONED = 77  # whoever waited for the running call is gone
_STDOUT = 1  # goes to the worker's log
_WATCH_S = 2.0  # how often an idle worker looks whether it is retired
_GRACE_S = 2.0  # how long a call may run on that nobody waits for
_NOTE_EVERY_S = 0.2  # how often the lease's note is written at most


class Server:
    """Serves the calls of one generation of a module until it is idle for long, or told to stop.

    Parameters
    ----------
    folder : Path
        The generation's.
    root : Path
        The data folder.
    dev : bool
        Serve the user's own, edited ``worker.py`` with the generation's packages; see `devmode`.
    """

    def __init__(self, folder: Path, root: Path, *, dev: bool = False) -> None:
        self.folder = folder
        self.root = root
        self.declaration = functions.read_declaration(folder)
        self.name: str = self.declaration["name"]
        self.generation = int(folder.name)
        self.entry: home.ModuleEntry | None = None
        self.edited: EditedWorker | None = None
        if dev:
            self.edited = EditedWorker(devmode.folder(root, self.name), self.declaration)
        self.stem = devmode.stem(root, self.name, self.generation, dev=dev)
        self.lease = leases.Lease(root, self.stem)
        self.changed = threading.Event()  # who uses the worker: the note is to be written
        self.jobs: queue.Queue[tuple[Peer, wire.Message] | None] = queue.Queue()
        self.peers: list[Peer] = []
        self.log = Path(os.environ.get("GA3ENV_WORKER_LOG", ""))
        self.key = secrets.token_bytes(32)
        self.started = time.time()
        self.last_call = time.monotonic()
        self.running: Peer | None = None
        self.worker: ModuleType | None = None
        self.broken: GA3EnvError | None = None

    def serve(self) -> int:
        """Serve until the end; return the exit code."""
        if not self.lease.acquire(timeout=1.0):
            return spawn.EXIT_TAKEN
        try:
            # Read after the lease is taken: who changes it now sees the lease.
            if not self._is_published():
                print(f"{self.name} {self.generation} is not the published generation.")
                return spawn.EXIT_RETIRED
            self._announce()
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._disown)
            self._import()
            self._run_jobs()
            return 0
        finally:
            self._leave()

    def _disown(self) -> None:
        """Let go, in a copy that the module makes of this process, of what tells that it lives.

        Else whoever waits for a worker that died would wait for the copy.
        """
        self.lease.disown()
        for peer in self.peers:
            peer.connection.close()

    def _is_published(self) -> bool:
        data = home.read_config(self.root)["modules"].get(self.name)
        self.entry = home.entry(self.root, self.name, data) if data else None
        return self.entry is not None and self.entry.generation == self.generation

    def _announce(self) -> None:
        records.sweep(self.stem)  # a predecessor that was killed
        address = _address(self.stem)
        self.listener = wire.listen(address)
        record = records.WorkerRecord(
            module=self.name,
            generation=self.generation,
            pid=os.getpid(),
            started=self.started,
            address=address,
            key=self.key.hex(),
            log=os.environ.get("GA3ENV_WORKER_LOG", ""),
        )
        self.lease.write_note(self._note())
        _daemon(self._keep_note)
        _daemon(self._accept)
        records.write(self.stem, record)
        _log(f"worker {os.getpid()} of {self.name} {self.generation} started")

    def _note(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "module": self.name,
            "generation": self.generation,
            "user": leases.user_name(),
            "since": self.started,
            "clients": [peer.as_dict() for peer in list(self.peers)],
        }

    def _keep_note(self) -> None:
        """Tell in the lease's note who uses the worker; calls do not wait for that."""
        while True:
            self.changed.wait()
            self.changed.clear()
            self.lease.write_note(self._note())
            time.sleep(_NOTE_EVERY_S)

    def _import(self) -> None:
        try:
            if self.edited is None:
                self.worker = functions.load_worker(self.folder, self.declaration)
        except GA3EnvError as error:
            _log(error.details.get("traceback", error))
            self.broken = error
        self.last_call = time.monotonic()

    def _accept(self) -> None:
        while True:
            try:
                connection = self.listener.accept()
            except OSError:
                return  # the listener is closed
            # In a thread of its own: a peer that stays silent blocks nobody.
            _daemon(self._attend, connection)

    def _attend(self, connection: Connection) -> None:
        about = {
            "protocol": wire.PROTOCOL,
            "app_version": __version__,
            "module": self.name,
            "module_version": self.declaration.get("version", ""),
            "generation": self.generation,
            "pid": os.getpid(),
            "slots": SLOTS,
        }
        try:
            peer = Peer(connection, wire.welcome(connection, self.key, about))
        except (GA3EnvError, OSError):
            connection.close()
            return
        self.peers.append(peer)
        self.changed.set()
        try:
            self._read(peer)
        finally:
            peer.gone = True
            self.peers.remove(peer)
            self.changed.set()
            connection.close()
        self._abandon(peer)

    def _read(self, peer: Peer) -> None:
        while True:
            try:
                message = wire.receive(peer.connection)
            except wire.ConnectionLost:
                return
            except GA3EnvError as error:  # not a message of ours: there is no way to go on
                peer.send({"type": "error", "id": None, "error": error.to_dict()})
                return
            match message.get("type"):
                case "call":
                    peer.asked += 1
                    self.changed.set()
                    self.jobs.put((peer, message))
                case "cancel":
                    peer.cancel(message.get("id"))
                case "status":
                    peer.send({"type": "status", **self._status()})
                case "stop":
                    self.jobs.put(None)
                    peer.send({"type": "stopping"})
                case unknown:
                    peer.send({"type": "unknown", "what": str(unknown)[:100]})

    def _abandon(self, peer: Peer) -> None:
        """Stop the call of a client that is gone, as NIS ends the node's process on an abort.

        A module that tells its progress stops by itself; else a computation only ends with its
        process. Others whose calls wait here see the connection end before their call has started,
        and start another worker.
        """
        deadline = time.monotonic() + _GRACE_S
        while self.running is peer:
            if time.monotonic() >= deadline:
                _log("The client is gone: its call is stopped.")
                if self._is_found():
                    records.sweep(self.stem)
                spawn.kill(os.getpid())  # with the processes in which the module computes
                os._exit(EXIT_ABANDONED)
            time.sleep(0.05)

    def _status(self) -> dict[str, Any]:
        return {
            "ready": self.worker is not None or self.edited is not None,
            "busy": self.running is not None or not self.jobs.empty(),
            "idle_s": round(time.monotonic() - self.last_call, 1),
            "clients": [peer.as_dict() for peer in list(self.peers)],
        }

    def _run_jobs(self) -> None:
        assert self.entry is not None
        while True:
            left = self.last_call + self.entry.idle_timeout_s - time.monotonic()
            try:
                job = self.jobs.get(timeout=max(0.0, min(_WATCH_S, left)))
            except queue.Empty:
                if left <= 0 or not self._still_wanted():
                    return
                continue
            if job is None:
                return
            self.running = job[0]
            self._run_job(*job)
            self.running = None
            spawn.shorten(self.log, _STDOUT)
            job[0].answered += 1
            self.changed.set()
            self.last_call = time.monotonic()
            if self.broken:
                return  # the next call tries the import anew

    def _still_wanted(self) -> bool:
        try:
            return self._is_found() and self._is_published()
        except GA3EnvError:
            return True  # a damaged config.json is no reason to drop a loaded model

    def _is_found(self) -> bool:
        """Tell whether clients find this worker, and not another in a replaced data folder."""
        record = records.read(self.stem)
        return record is not None and record.key == self.key.hex()

    def _run_job(self, peer: Peer, message: wire.Message) -> None:
        number = message.get("id")
        if peer.gone:
            return  # nobody waits for the result
        # A client that sees the connection end before it can know this may call another worker.
        peer.tell_started(message)
        device = self.entry.device if self.entry else devices.CPU
        running = Running(device, peer.teller(message), lambda: not peer.wants(number))
        try:
            reply = self._call(peer, message, running)
            peer.send({"type": "result", "id": number, "device": device, **reply})
        except Exception as error:  # whatever the module returned, the worker lives on
            told = error if isinstance(error, GA3EnvError) else functions.failure(error, device)
            expected = isinstance(told, (BadInput, Cancelled))
            _log(told if expected else told.details.get("traceback", told))
            peer.send({"type": "error", "id": number, "error": told.to_dict()})

    def _call(self, peer: Peer, message: wire.Message, running: Running) -> dict[str, Any]:
        """Run the function; return the result's part of the reply."""
        match message:
            case {"function": str(function), "arrays": dict(), "params": dict(given)}:
                pass
            case _:
                raise BadInput("The call lacks its function, arrays or params.", code="protocol")
        arrays = peer.inputs(message)
        axes = message.get("axes")
        axes = axes if isinstance(axes, dict) else {}
        with devices.turn(running.device, self.name, running):
            started = time.perf_counter()
            results = functions.run_function(
                self._code(), self.declaration, function, arrays, axes, given, running
            )
        outputs = self.declaration["functions"][function]["outputs"]
        reply: dict[str, Any] = {"outputs": peer.place(message, outputs, results)}
        if running.notes:
            reply["notes"] = running.notes
        return {**reply, "seconds": time.perf_counter() - started}

    def _code(self) -> ModuleType:
        if self.edited:
            return self.edited.current()
        if self.worker is None:
            raise self.broken or ModuleFailed("The module is not loaded.")
        return self.worker

    def _leave(self) -> None:
        """End without a trace; a call that was not started goes to the next worker."""
        _log(f"worker {os.getpid()} of {self.name} {self.generation} ends")
        if self._is_found():
            records.remove(self.stem)
        if hasattr(self, "listener"):
            with contextlib.suppress(FileNotFoundError):  # the run folder was deleted
                self.listener.close()
        self.lease.release()


def _address(stem: Path) -> str:
    if sys.platform == "win32":
        return f"\\\\.\\pipe\\ga3env-{stem.name}-{secrets.token_hex(8)}"
    return str(records.socket_path(stem))


def _log(what: object) -> None:
    """Write to the worker's log, whatever the module has made of `sys.stdout`."""
    with contextlib.suppress(OSError):  # a full disk
        os.write(_STDOUT, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {what}\n".encode(errors="replace"))


def _daemon(target: Callable[..., object], *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()


def main(argv: list[str] | None = None) -> int:
    """Run the host as a program; return the exit code."""
    parser = argparse.ArgumentParser(prog="host.py", description="Runs a module's functions.")
    parser.add_argument("folder", type=Path, help="folder with worker.py and its declaration")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--serve", type=Path, metavar="ROOT", help="serve clients of a data folder")
    mode.add_argument("--once", action="store_true", help="one call with files")
    mode.add_argument("--selftest", action="store_true", help="run test_worker.py")
    parser.add_argument("--dev", action="store_true", help="serve the user's edited worker.py")
    oneshot.add_to(parser)
    options = parser.parse_args(argv)
    folder = options.folder.resolve()
    try:
        if options.serve:
            return Server(folder, options.serve, dev=options.dev).serve()
        if options.once:
            oneshot.run_once(folder, options)
        else:
            oneshot.run_selftest(folder)
    except GA3EnvError as error:
        print(error.details.get("traceback", ""), f"error: {error}", sep="", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
