"""The share of connections that a client may have, by its address."""

from typing import Any

import pytest
from gunicorn.config import Config

from imageextractor.server.shares import CLIENT_SHARE, Shares

FULL = 1.0


@pytest.mark.parametrize(
    ("address", "network", "share"),
    [
        (("198.51.100.7", 1), "198.51.100.7", CLIENT_SHARE),
        (("::ffff:198.51.100.7", 1, 0, 0), "198.51.100.7", CLIENT_SHARE),
        (("2001:db8::1", 1, 0, 0), "2001:db8::/64", CLIENT_SHARE),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64", CLIENT_SHARE),
        (("10.1.2.3", 1), "10.1.2.3", FULL),
        (("::ffff:10.1.2.3", 1, 0, 0), "10.1.2.3", FULL),
        (("::1", 1, 0, 0), "::1", FULL),
        ("", "", FULL),
    ],
)
def test_a_proxy_is_known_by_its_whole_address(address: Any, network: str, share: float) -> None:
    cfg = Config()
    cfg.set("forwarded_allow_ips", "10.1.0.0/16,::1")
    assert Shares(cfg).client(address) == (network, share)


def test_any_client_may_be_a_proxy_if_all_are_trusted() -> None:
    cfg = Config()
    cfg.set("forwarded_allow_ips", "*")
    assert Shares(cfg).client(("198.51.100.7", 1)).share == FULL
