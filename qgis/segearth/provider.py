"""The provider: its algorithms, and the setting that says where segearth is."""

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms import ALGORITHMS
from .command import SETTING

ICON = Path(__file__).with_name("icon.svg")


class SegEarthProvider(QgsProcessingProvider):
    """Algorithms that call `segearth`."""

    def load(self):
        """Makes the setting known, then the algorithms."""
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        ProcessingConfig.addSetting(
            Setting(
                self.name(),
                SETTING,
                "Path of the command segearth (empty: as the system finds it)",
                "",
                valuetype=Setting.FILE,
            )
        )
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self):
        """Forgets the setting."""
        ProcessingConfig.removeSetting(SETTING)

    def loadAlgorithms(self):  # noqa: N802
        """Adds one of each."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def id(self):
        """The first part of the algorithms' names."""
        return "segearth"

    def name(self):
        """The provider's name for people."""
        return "SegEarth"

    def icon(self):
        """The provider's icon."""
        return QIcon(str(ICON))

    def supportedOutputRasterLayerExtensions(self):  # noqa: N802
        """Suffixes of masks."""
        return ["tif"]

    def supportedOutputVectorLayerExtensions(self):  # noqa: N802
        """Suffixes of polygons, the default first."""
        return ["gpkg", "geojson", "fgb", "shp"]
