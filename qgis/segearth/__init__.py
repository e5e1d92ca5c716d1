"""SegEarth in QGIS: algorithms of the Processing toolbox that call the command line."""


def classFactory(iface):  # noqa: N802 - the name that QGIS calls
    """The plugin; iface: of the window, None in qgis_process."""
    from .plugin import SegEarthPlugin

    return SegEarthPlugin(iface)
