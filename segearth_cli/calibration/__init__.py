"""A few labels of a scene to a better decision on it: corrections of classes that prove themselves on held-out labels.

Labels become pixels of scenes, only the windows that hold them are run, a ridge-limited correction of each class is
fitted and judged in blocks of ground, and the best of text, biases and correction is kept.
What a calibration is and how a run uses one stands in `prediction`; this package makes them. Knows no command line.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.calibration.labels import Labels
    from segearth_cli.calibration.learning import Samples, Text, learn
    from segearth_cli.calibration.options import LabelSource
    from segearth_cli.calibration.report import told
    from segearth_cli.calibration.suggest import suggest_labels
    from segearth_cli.calibration.workflow import calibrate_to_file

__all__ = [
    "LabelSource",
    "Labels",
    "Samples",
    "Text",
    "calibrate_to_file",
    "learn",
    "suggest_labels",
    "told",
]

__getattr__ = lazy_face(
    __name__,
    {
        "labels": "Labels",
        "learning": "Samples Text learn",
        "options": "LabelSource",
        "report": "told",
        "suggest": "suggest_labels",
        "workflow": "calibrate_to_file",
    },
)
