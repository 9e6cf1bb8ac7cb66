"""How fast local models answer, beside llama-cpp-python under a lock and llama.cpp's own server.

`make bench-local` measures all and writes docs/local-performance.md; README.md here says how.
"""
