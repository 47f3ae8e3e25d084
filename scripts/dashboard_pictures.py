"""Takes the pictures of docs/images: `.venv/bin/python scripts/dashboard_pictures.py`.

The dashboard over sample objects, in Debian's Chromium.
"""

import io
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from PIL import Image  # noqa: E402  the folder of the helpers is known by now

from chromium import browser  # noqa: E402
from dashboard_versions import EMB  # noqa: E402
from dashboard_visit import Visit  # noqa: E402
from dashboard_world import DashboardWorld  # noqa: E402

PICTURES = {
    "retriever": ("retrievers/news", 850),
    "versions": ("versions", 720),
    "version": (f"versions/{EMB[12]}", 820),
    "run": ("training/news-lr", 800),
    "test": ("tests/news-v12", 940),
}


def main() -> None:
    with DashboardWorld() as world, browser() as chromium:
        for theme in ("light", "dark"):
            with Visit(chromium, world.url, color_scheme=theme, reduced_motion="reduce") as visit:
                visit.sign_in("admin-token")
                for name, (place, height) in PICTURES.items():
                    visit.page.set_viewport_size({"width": 1280, "height": height})
                    visit.go(place)
                    for percent in range(44 if name == "run" else 0):
                        world.trains(percent)
                        visit.page.wait_for_timeout(60)
                    visit.page.mouse.move(0, 0)
                    visit.page.wait_for_timeout(700)
                    save(visit.page.screenshot(), ROOT / "docs" / "images" / f"{name}-{theme}.png")


def save(picture: bytes, path: Path) -> None:
    """Without alpha, packed well. Fewer colours would be smaller, and lose the rare ones: the red of a failure."""
    Image.open(io.BytesIO(picture)).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()
