from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, logging, sys, tempfile
from one_api.adapter import AdapterContext
from one_api_llamacpp import LlamaCppAdapter

async def main():
    with tempfile.TemporaryDirectory() as directory:
        environment = {"LOCAL_MODELS_DIR": directory}
        context = AdapterContext(http=None, logger=logging.getLogger())
        adapter = LlamaCppAdapter.build("llamacpp", environment, context)["llamacpp"]
        await adapter.start()
        assert ["tiny-chat"] == [model.id for model in await adapter.list_models()]
        await adapter.close()

asyncio.run(main())
print(sorted({"llama_cpp", "numpy", "one_api_llamacpp.native"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_neither_import_nor_listing_loads_llama_cpp() -> None:
    """A gateway that never answers from a local model must not pay for the library."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
