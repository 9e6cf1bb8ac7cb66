"""Who drives the Flask application: an ASGI server's event loop, or WSGI threads and one loop.

Nothing above this package knows which. Views are `async def` and may return a `StreamingResponse`.
"""

from __future__ import annotations

from one_api.runtime.admission import Admission
from one_api.runtime.application import GatewayFlask, Services
from one_api.runtime.drain import Drain
from one_api.runtime.streaming import StreamingResponse, open_early
from one_api.runtime.uploads import UPLOAD, SpooledUpload, Upload, UploadPolicy

__all__ = [
    "UPLOAD",
    "Admission",
    "Drain",
    "GatewayFlask",
    "Services",
    "SpooledUpload",
    "StreamingResponse",
    "Upload",
    "UploadPolicy",
    "open_early",
]
