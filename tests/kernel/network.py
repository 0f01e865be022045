"""A command that cannot reach any network.

In a network namespace of its own, with only the loopback device in it, where this user may make one. Elsewhere every proxy
variable names a closed port and cargo is told to stay offline: weaker, since a program may go round a proxy.

  python tests/kernel/network.py COMMAND ..     brings the loopback device up, then becomes COMMAND
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
CLOSED = "http://127.0.0.1:9"
OFFLINE = {"CARGO_NET_OFFLINE": "true", "PIP_NO_INDEX": "1", "NO_PROXY": "127.0.0.1,localhost"}
OFFLINE.update({name: CLOSED for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")})


def without(command):
    """The command as it is to be started, its environment, and how the network is kept away."""
    for unshare in (["unshare", "-n"], ["unshare", "-rn"]):
        inside = unshare + [sys.executable, os.path.abspath(__file__)]
        if succeeds(inside + [sys.executable, "-c", "import socket; assert len(socket.if_nameindex()) == 1"]):
            return inside + command, dict(os.environ), "a network namespace with only a loopback device (`%s`)" % " ".join(unshare)
    return command, {**os.environ, **OFFLINE}, "proxies that name a closed port, and CARGO_NET_OFFLINE"


def succeeds(command):
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))


if __name__ == "__main__":
    loopback_up()
    os.execvp(sys.argv[1], sys.argv[1:])
