"""An MLflow server like a team's: runs in PostgreSQL, artifacts sent through the server."""

import shutil
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

from cluster.processes import Processes, output


def start(processes: Processes, store_port: int, port: int) -> None:
    """Start PostgreSQL on one port, and on the other the MLflow server that keeps runs there."""
    folder = processes.folder
    versions = Path("/usr/lib/postgresql").iterdir()
    programs = max(versions, key=lambda version: int(version.name)) / "bin"
    data = folder / "postgresql"
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    initdb = [
        str(programs / "initdb"),
        "-D",
        str(data),
        "-U",
        "postgres",
        "--auth=trust",
        "--no-sync",
    ]
    subprocess.run(initdb, user="postgres", cwd=data, stdout=subprocess.DEVNULL, check=True)
    place = ["-h", "127.0.0.1", "-p", str(store_port)]
    server = [str(programs / "postgres"), "-D", str(data), "-k", str(data), *place]
    processes.start(*server, name="postgres", user="postgres")
    ready = [str(programs / "pg_isready"), *place]
    processes.wait("postgres", lambda: "accepting" in output(*ready))
    subprocess.run([programs / "createdb", *place, "-U", "postgres", "mlflow"], check=True)
    store = f"postgresql+psycopg2://postgres@127.0.0.1:{store_port}/mlflow"
    serve(processes, port, store, str(folder / "artifacts"))


def serve(processes: Processes, port: int, store: str, artifacts: str) -> None:
    """Start an MLflow server that keeps runs in a store, and artifacts in a place of its own."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    options += ["--artifacts-destination", artifacts, "--serve-artifacts"]
    mlflow = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, *options]
    processes.start(*mlflow, name="mlflow")

    def answers() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
            return True
        return False

    processes.wait("mlflow", answers)
