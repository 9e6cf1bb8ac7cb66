"""How fast the gateway is, measured beside others in one run: `make bench`, `make bench-quick`.

The machine may be noisy and is never the same twice: what counts are processor time, as the
operating system accounts for it, and ratios to nginx in the same run. Of many short repetitions
those are told that others disturbed least: see `disturbance`.
"""
