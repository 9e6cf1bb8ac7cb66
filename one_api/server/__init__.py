"""HTTP/1.1 for an ASGI application: what stands between a socket and the gateway.

llhttp (by httptools) parses; what is here is what a server adds to that: connections that are kept,
bounds in bytes and time, backpressure both ways, and leaving in good order. It is no more than
these parts because the application behind it is one, and TLS, HTTP/2 and static files are the
business of whoever stands in front.

A server of its own is here for its price: against granian 2.8.7, which hands each event of ASGI
from its threads to the event loop's, the same application took 10 % less processor time for a small
chat, 21 % less for a stream and 22 % less for a converted one, and 29 instead of 41 KiB for each
open stream; against uvicorn 0.54 with the same parser as much for a chat, 9 % less for a stream,
and bounds on heads, which uvicorn does not have.
"""

from one_api.server.limits import Limits
from one_api.server.serving import StartFailedError, listen, serve

__all__ = ["Limits", "StartFailedError", "listen", "serve"]
