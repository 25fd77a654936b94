"""A Python for aarch64 that runs here: Debian's, with the locked packages' own wheels, under qemu.

It is made once for each requirements.txt, in the user's cache, and takes 2.5 GB; nothing is
installed. Its command is a script that starts the emulator. So its `sys.executable` can be started
too, and the processes that it starts are emulated like itself. The variable QEMU_CPU chooses the
processor.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

QEMU = "qemu-aarch64"
PACKAGES = ("python3", "libstdc++6")  # of Debian; the wheels bring their other libraries along
SITE = "usr/lib/python3/dist-packages"
COMMAND = f"""#!/bin/sh
root=${{0%/usr/bin/emulated}}
exec {QEMU} -L "$root" -0 "$0" "$root/usr/bin/python3" "$@"
"""


def python() -> Path:
    """Return the command, and make what it needs if it is not there; exit if that cannot be."""
    requirements = Path("requirements.txt")
    key = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "softmax-pipeline"
    root, command = cache / f"aarch64-{key}", "usr/bin/emulated"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "lock"):
        if not root.exists():
            print(f"Making a Python for aarch64 in {root} ...", flush=True)
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                made = Path(temporary) / "root"
                version = _debian(Path(temporary), made)
                _packages(requirements, made, version)
                (made / command).write_text(COMMAND, encoding="utf-8")
                (made / command).chmod(0o755)
                made.rename(root)
    return root / command


def _debian(folder: Path, root: Path) -> str:
    """Unpack Debian's Python and all that it depends on; return its version, as 3.11."""
    if not shutil.which("apt-get"):
        sys.exit("aarch64: needs the packages of Debian, and there is no apt-get here")
    (folder / "archives/partial").mkdir(parents=True)
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "status").touch()
    options = {  # as if this were another machine, on which nothing is installed yet
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Sandbox::User": "root",
        "APT::Update::Post-Invoke::": "",
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    call(*apt, "update")
    call(*apt, "install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES)
    for package in (folder / "archives").glob("*.deb"):
        call("dpkg-deb", "--extract", str(package), str(root))
    return (root / "usr/bin/python3").readlink().name.removeprefix("python")


def _packages(requirements: Path, root: Path, version: str) -> None:
    """Install the locked packages for a Python of that version."""
    same = version == f"{sys.version_info.major}.{sys.version_info.minor}"
    uv = str(Path(sys.executable).with_name("uv"))
    options = {
        "--requirements": requirements,
        "--python-platform": "aarch64-unknown-linux-gnu",
        "--python-version": version,
        "--target": root / SITE,
    }
    more = [f"{key}={value}" for key, value in options.items()]
    compile_too = ["--compile-bytecode"] if same else []
    call(uv, "pip", "install", "--quiet", "--require-hashes", *compile_too, *more)


def call(*command: str) -> None:
    """Run a command; exit with what it says if it fails."""
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split())[:300] or f"exit code {done.returncode}"
        sys.exit(f"{Path(command[0]).name} has failed: {reason}")
