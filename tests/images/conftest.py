"""The images under test: those that scripts/images.sh has just built, in the engine that built them."""

import os
from collections.abc import Iterator

import pytest

from container_images import Image, opened

ENGINE = os.environ.get("ATTUNE_IMAGE_ENGINE")
BUILT = os.environ.get("ATTUNE_IMAGES", "").split()
VERSION = os.environ.get("ATTUNE_IMAGE_VERSION", "")


def built(name: str) -> Iterator[Image]:
    if ENGINE is None or name not in BUILT:
        pytest.skip(f"the {name} image was not built now; `make images` builds and checks")
    with opened(ENGINE, f"attune-{name}:{VERSION}") as image:
        yield image


@pytest.fixture(scope="session")
def operator_image() -> Iterator[Image]:
    yield from built("operator")


@pytest.fixture(scope="session")
def trainer_image() -> Iterator[Image]:
    yield from built("trainer")


@pytest.fixture(scope="session")
def serving_image() -> Iterator[Image]:
    yield from built("serving")


@pytest.fixture(params=["operator", "trainer", "serving"])
def image(request: pytest.FixtureRequest) -> Image:
    """Each of them in turn."""
    found: Image = request.getfixturevalue(f"{request.param}_image")
    return found
