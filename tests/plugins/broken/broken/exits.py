"""A module whose import ends the program, or tries to."""

from __future__ import annotations

import sys

sys.exit("this plugin needs a licence")
