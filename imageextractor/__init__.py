"""Settings and URLs of the service."""

#: The version of this code, as in pyproject.toml and CHANGELOG.md.
__version__ = "0.2.0"
