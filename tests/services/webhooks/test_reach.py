"""Where webhooks may lead."""

from ipaddress import ip_network

import pytest

from services.errors import BadInputError
from services.webhooks.reach import Reach

CLOSED = (
    # this machine, and this network
    *("0.0.0.0", "127.0.0.1", "127.255.255.254", "::", "::1"),
    # neighbours
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1"),
    *("fc00::1", "fdff::1", "fec0::1", "fe80::1", "fe80::1%eth0"),
    # metadata of clouds
    *("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"),
    # many at once, or nobody
    *("224.0.0.1", "239.255.255.255", "255.255.255.255", "240.0.0.1", "ff02::1", "ff0e::1"),
    # documentation, protocols
    *("192.0.2.1", "198.51.100.1", "203.0.113.1", "192.0.0.9", "192.88.99.1"),
    *("2001:db8::1", "3fff::1", "5f00::1", "100::1", "2001::1", "2001:10::1", "2001:20::1"),
    # IPv4 in IPv6: mapped, compatible, translated, 6to4, NAT64
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "::7f00:1"),
    *("::ffff:0:127.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1"),
)
OPEN = (
    *("8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.0", "223.255.255.255", "100.128.0.1"),
    *("2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"),
)


@pytest.mark.parametrize("address", CLOSED)
def test_what_not_the_whole_internet_reaches_is_closed(address: str) -> None:
    assert not Reach().allows(address)


@pytest.mark.parametrize("address", OPEN)
def test_what_the_whole_internet_reaches_is_open(address: str) -> None:
    assert Reach().allows(address)


def test_the_operator_opens_networks_and_no_more_than_those() -> None:
    reach = Reach([ip_network("10.1.0.0/16"), ip_network("fd00::/8")])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd12::1", "8.8.8.8"):
        assert reach.allows(address), address
    for address in ("10.2.0.1", "127.0.0.1", "fc00::1", "::ffff:10.2.0.1"):
        assert not reach.allows(address), address


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ftp://example.org/", "must begin with https:// or http://"),
        ("file:///etc/passwd", "must begin with https:// or http://"),
        ("gopher://example.org/", "must begin with https:// or http://"),
        ("//example.org/hook", "must begin with https:// or http://"),
        ("example.org/hook", "must begin with https:// or http://"),
        ("https:///hook", "must name a host"),
        ("http://", "must name a host"),
        ("https://anna:pass@example.org/", "must not hold a user or a password"),
        ("https://anna@example.org/", "must not hold a user or a password"),
        ("https://example.org/#part", "must not end in a #fragment"),
        ("https://example.org:0/", "must have a port from 1 to 65535"),
        ("https://example.org:65536/", "must have a port|is not a URL"),
        ("https://example.org:http/", "is not a URL"),
        ("https://example.org/\r\nX-Evil: 1", "is not a URL"),
        ("https://exa mple.org/", "must name a host"),
        ("https://[::1/", "is not a URL"),
        ("http://localhost:6379/", "leads into a network that may not be called"),
        ("http://api.localhost/", "leads into a network that may not be called"),
        ("http://127.1/", "leads into a network that may not be called"),
        ("http://2130706433/", "leads into a network that may not be called"),
        ("http://0x7f000001/", "leads into a network that may not be called"),
        ("http://0177.0.0.1/", "is not a URL"),
        ("http://0/", "leads into a network that may not be called"),
        ("http://127。0。0。1/", "leads into a network that may not be called"),
        ("http://１２７.０.０.１/", "is not a URL"),
        ("https://example.org/" + "a" * 2000, "must have 2000 characters at most"),
        ("http://127.0.0.1:8000/v1/jobs", "leads into a network that may not be called"),
        ("http://[::1]/", "leads into a network that may not be called"),
        ("http://[::ffff:169.254.169.254]/latest", "leads into a network that may not be called"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_and_the_refusal_says_why(url: str, fault: str) -> None:
    with pytest.raises(BadInputError, match=fault) as caught:
        Reach().check(url)
    assert caught.value.problems[0].pointer == "/url"


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://example.org", "https://example.org"),
        ("HTTPS://Example.ORG:8443/Hook?a=b", "https://example.org:8443/Hook?a=b"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("https://xn--a-ecp.example/", "https://xn--a-ecp.example/"),  # stands for nothing
        ("http://8.8.8.8:80/x", "http://8.8.8.8/x"),
        ("https://[2606:4700::1111]:8443/", "https://[2606:4700::1111]:8443/"),
    ],
)
def test_a_url_is_kept_in_its_normal_form(url: str, normal: str) -> None:
    assert Reach().check(url) == normal
