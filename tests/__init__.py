"""The tests. A package only so that they can share `ptys`, `virtual_time` and `dialogue`."""
