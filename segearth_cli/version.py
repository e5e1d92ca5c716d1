"""The version of this package, in a room of its own so that nothing imports the public face to learn it."""

__version__ = "0.1.0"
