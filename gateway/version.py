"""The program's version, as pyproject.toml says it (a test compares). Asking importlib.metadata for it takes
0.8 MB that a station never gets back.
"""

VERSION = "0.1.0"
