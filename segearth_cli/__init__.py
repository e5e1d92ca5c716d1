"""segearth: segment large georeferenced rasters into the classes you name."""

__version__ = "0.1.0"
