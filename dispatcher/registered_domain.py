"""The registered domain of a host: what one owner registered, and so what one pace is owed to.

By the Public Suffix List (https://publicsuffix.org/list/) with its private part: `a.github.io` and `b.github.io` are
two owners. The list is the one in the installed `publicsuffixlist`; nothing is fetched.
"""

import ipaddress
from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList

_REMEMBERED = 200_000


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _name_of(host: str) -> str:
    """A host, as `name`, `name:port`, `[v6]` or `[v6]:port`, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and ":" not in name else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=_REMEMBERED)
def registered_domain(host: str) -> str:
    """Return the domain of a normalised host, its port left out; never raises.

    An IP address, a public suffix and a name without one (`localhost`) are their own domain.
    """
    name = _name_of(host)
    if _is_address(name):
        return name
    return _suffixes().privatesuffix(name) or name


@lru_cache(maxsize=_REMEMBERED)
def is_address(host: str) -> bool:
    """Return whether a host is an IP address, with or without a port: nothing is registered there."""
    return _is_address(_name_of(host))
