"""Fixtures for tests of the compressor."""

import pytest

from processing.compress import native


@pytest.fixture
def pixels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that recompresses a JPEG without decoding its pixels is not there."""
    monkeypatch.setattr(native, "library", lambda: None)


@pytest.fixture(
    params=[pytest.param("coefficients", marks=pytest.mark.needs(native.LIBRARY.name)), "pixels"],
)
def jpeg_path(request: pytest.FixtureRequest) -> None:
    """Both ways to change the quality of a JPEG, one after the other."""
    if request.param == "pixels":
        request.getfixturevalue("pixels_only")
