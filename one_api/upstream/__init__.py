"""The one HTTP client of the process: pooled, patient by numbers, deaf to redirects.

It speaks HTTP/1.1 for one purpose, since it stands on the road of every request. A chat takes it
1,070 steps of the interpreter and 80 us of CPU with the event loop's and the kernel's part; it
took aiohttp 3.14 and what we had around it 4,350 and 240, and a read of a stream 20 us instead of
47 (November 2026, CPython 3.11 with uvloop).

What is hard to get right is not written here. llhttp, the parser of Node.js, reads the replies,
and is strict; OpenSSL does TLS, trusting whom the system trusts; aiohappyeyeballs tries the
addresses of a host. Left out is what a gateway must not do by itself: follow redirects, keep
cookies, obey proxies from the environment.

    target      a URL into whom to connect to and what to ask for
    head        a request into the bytes of its head
    response    the bytes of a reply into its status, headers and body
    decoding    bodies that come compressed
    names       host names into addresses
    connection  a connection: bytes both ways, and one timer
    pool        which connection to use, and making new ones
    exchange    one request and its reply, with every deadline
    client      `Upstream`, what the gateway sees of it

Foreign exceptions end here: everything above sees `UpstreamError`s.
"""

from one_api.upstream.client import Upstream as Upstream
from one_api.upstream.connection import READ_BUFFER_BYTES as READ_BUFFER_BYTES
from one_api.upstream.names import LookUp as LookUp

__all__ = ["READ_BUFFER_BYTES", "LookUp", "Upstream"]
