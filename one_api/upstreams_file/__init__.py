"""The operator's file of upstreams: YAML text in, checked values out.

`source` turns the file into YAML nodes, `variables` fills in `${VAR}`, `value` reads typed values
off the nodes and knows the line of each, `entry` and `document` say what the file may hold. No
Python object is ever constructed from the file.
"""

from one_api.upstreams_file.document import read_upstreams

__all__ = ["read_upstreams"]
