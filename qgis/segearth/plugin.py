"""The plugin: brings the provider into Processing, and takes it out again."""

from qgis.core import QgsApplication

from .provider import SegEarthProvider


class SegEarthPlugin:
    """What QGIS loads and unloads."""

    def __init__(self, iface):
        self.iface = iface
        self.provider = None

    def initProcessing(self):  # noqa: N802
        """Adds the provider; all that qgis_process asks for."""
        self.provider = SegEarthProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):  # noqa: N802
        """Adds the provider; there is no other button or menu."""
        self.initProcessing()

    def unload(self):
        """Takes the provider out."""
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
