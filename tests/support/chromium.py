"""Debian's Chromium for tests of the dashboard: from PATH, or unpacked into the cache with what it needs. No root, nothing installed.

As with Prometheus (`debian_packages`): Playwright's own browsers come from a server that not every machine may ask.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from debian_packages import CACHE, unpack_with_needed

PACKAGES = ["chromium", "fonts-dejavu-core", "fonts-inter"]
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
ARGUMENTS = ["--font-render-hinting=none", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{share}</dir><dir>/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>
"""


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium that runs, without a window."""
    program, environment = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, env={**os.environ, **environment}, args=ARGUMENTS, timeout=120_000
        )
        try:
            yield opened
        finally:
            opened.close()


def chromium() -> tuple[Path, dict[str, str]]:
    """The program, and what its environment needs; RuntimeError says what to install."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is not None:
        return Path(found), {}
    root = _unpacked()
    libraries = root / LIBRARIES
    fonts = root / "fonts.conf"
    return root / "usr/lib/chromium/chromium", {
        "LD_LIBRARY_PATH": f"{libraries}:{libraries / 'pulseaudio'}",
        "FONTCONFIG_FILE": str(fonts),
    }


def _unpacked() -> Path:
    folder = CACHE / "chromium"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            try:
                unpack_with_needed(PACKAGES, folder)
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", None) or error
                raise RuntimeError(
                    f"chromium is not on PATH, and its Debian packages cannot be unpacked into {folder}: {str(said).strip()[-300:]}. "
                    f"Install it: apt-get install {' '.join(PACKAGES)}"
                ) from error
        (folder / "fonts.conf").write_text(FONTS.format(share=folder / "usr/share/fonts", cache=folder / "fonts-cache"))
    return folder
