"""A Slurm cluster of one node, and an MLflow server on PostgreSQL, to run sweeps on.

`python -m cluster.one_node start` prints the variables that point commands at it; `stop` ends all
of it. Everything lives in one temporary folder and listens on 127.0.0.1.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from cluster import mlflow_server, packages
from cluster.processes import Processes, output

FOLDER = Path(tempfile.gettempdir()).resolve() / "one-node-cluster"
JOBS_SECONDS = 60  # the longest that Slurm may take to end the jobs
SLURM_CONF = """\
ClusterName=one-node
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={megabytes}
PartitionName=main Nodes=ALL Default=YES
"""


def start() -> dict[str, str]:
    """Start everything; return the environment variables by which commands find it."""
    packages.install()
    try:
        FOLDER.mkdir(mode=0o755)
    except FileExistsError:
        sys.exit(f"{FOLDER} is there: `python -m cluster.one_node stop` ends what runs in it")
    ports = free_ports(4)
    configuration, uri = FOLDER / "slurm.conf", f"http://127.0.0.1:{ports[3]}"
    variables = {"SLURM_CONF": str(configuration), "MLFLOW_TRACKING_URI": uri}
    os.environ.update(variables)
    megabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 * 9 // 10
    host = socket.gethostname().partition(".")[0]
    configuration.write_text(
        SLURM_CONF.format(folder=FOLDER, host=host, ports=ports, megabytes=megabytes),
        encoding="utf-8",
    )
    with ExitStack() as undo:
        undo.callback(stop)
        processes = Processes(FOLDER)
        _slurm(processes)
        mlflow_server.start(processes, ports[2], ports[3])
        undo.pop_all()
    return variables


def stop() -> None:
    """End the jobs and all processes, and remove the folder."""
    if not FOLDER.exists():
        return
    os.environ["SLURM_CONF"] = str(FOLDER / "slurm.conf")
    if output("scontrol", "ping").count("UP"):
        subprocess.run(["scancel", "--me"], check=False)
        deadline = time.monotonic() + JOBS_SECONDS
        while output("squeue", "--noheader") and time.monotonic() < deadline:
            time.sleep(0.5)
    Processes(FOLDER).stop()
    shutil.rmtree(FOLDER, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody uses."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _slurm(processes: Processes) -> None:
    for name in ("state", "spool"):
        (FOLDER / name).mkdir()
    key = FOLDER / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    places = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={FOLDER}/munge.{name}" for option, name in places.items()]
    processes.start("munged", "--foreground", f"--key-file={key}", *options, name="munged")
    processes.wait("munged", (FOLDER / "munge.socket").exists)
    processes.start("slurmctld", "-D", name="slurmctld")
    processes.start("slurmd", "-D", name="slurmd")
    processes.wait("slurmd", lambda: output("sinfo", "-h", "-o", "%T").strip() == "idle")


def main() -> None:
    """Start or stop the cluster, as the first argument says."""
    if sys.argv[1:] == ["start"]:
        if obstacle := packages.obstacle():
            sys.exit(obstacle)
        for name, value in start().items():
            print(f"export {name}={shlex.quote(value)}")
    elif sys.argv[1:] == ["stop"]:
        stop()
    else:
        sys.exit("usage: python -m cluster.one_node start|stop")


if __name__ == "__main__":
    main()
