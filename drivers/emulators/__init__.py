"""The instruments' side of every protocol, for the demo, for training and for the tests.

Nothing in the station uses it.
"""
