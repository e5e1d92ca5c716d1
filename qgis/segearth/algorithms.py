"""The algorithms: parameters in QGIS's words, and the command line that they stand for."""

import json
import shlex
from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingParameterVectorLayer,
)
from qgis.PyQt.QtGui import QIcon

from .command import run

_ICON = Path(__file__).with_name("icon.svg")


def _text(name, title, default=None, optional=True):
    return QgsProcessingParameterString(name, title, default, optional=optional)


def _number(name, title, low, high=None, default=None):
    limits = {"minValue": low} if high is None else {"minValue": low, "maxValue": high}
    return QgsProcessingParameterNumber(
        name, title, QgsProcessingParameterNumber.Double, default, optional=True, **limits
    )


def _advanced(parameter):
    parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return parameter


class CommandAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that is a command of segearth."""

    NAME = TITLE = HELP = ""

    def parameters(self):
        """The parameters that are this algorithm's own."""
        return []

    def words(self, given):
        """The command line for what was given."""
        raise NotImplementedError

    def name(self):
        """The second part of its name for programs."""
        return self.NAME

    def displayName(self):  # noqa: N802
        """Its name for people."""
        return self.TITLE

    def shortHelpString(self):  # noqa: N802
        """What the dialog says beside the parameters."""
        return self.HELP

    def icon(self):
        """Its icon in the toolbox."""
        return QIcon(str(_ICON))

    def createInstance(self):  # noqa: N802
        """Another one."""
        return type(self)()

    def initAlgorithm(self, configuration=None):  # noqa: ARG002, N802
        """Declares the parameters, and two that all have."""
        for parameter in self.parameters():
            self.addParameter(parameter)
        self.addParameter(_advanced(_text("EXTRA", "Further options, as on the command line")))
        self.addParameter(_advanced(QgsProcessingParameterBoolean("OVERWRITE", "Replace files that exist", False)))

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        """Runs the command; the files that it wrote."""
        given = Given(self, parameters, context)
        words = [self.NAME, *self.words(given), *shlex.split(given.text("EXTRA"))]
        if self.parameterAsBoolean(parameters, "OVERWRITE", context):
            words.append("--overwrite")
        run(words, feedback)
        return {} if feedback.isCanceled() else {**given.outputs, **self.results(given)}

    def results(self, given):  # noqa: ARG002
        """What else it gives, from what the command wrote."""
        return {}


class Given:
    """Values of parameters as words of a command line; remembers the outputs asked for."""

    def __init__(self, algorithm, parameters, context):
        self._algorithm, self._parameters, self._context = algorithm, parameters, context
        self.outputs = {}

    def text(self, name):
        """A text, empty when not given."""
        return self._algorithm.parameterAsString(self._parameters, name, self._context).strip()

    def flag(self, flag, name):
        """A flag with a text or number, nothing when it is not given."""
        if self._parameters.get(name) in (None, ""):
            return []
        return [f"{flag}={self.text(name)}"]

    def switch(self, flag, name):
        """A flag without a value, where it is on."""
        return [flag] if self._algorithm.parameterAsBoolean(self._parameters, name, self._context) else []

    def raster(self, name):
        """The file of a raster layer, empty when not given."""
        layer = self._algorithm.parameterAsRasterLayer(self._parameters, name, self._context)
        if layer is None:
            return ""
        if layer.providerType() != "gdal":
            raise QgsProcessingException(f"{layer.name()}: is no file that segearth can read; save it as GeoTIFF first")
        return layer.source()

    def vector(self, name):
        """The file of a vector layer, and the layer in it."""
        layer = self._algorithm.parameterAsVectorLayer(self._parameters, name, self._context)
        if layer is None:
            return "", ""
        if layer.providerType() != "ogr":
            raise QgsProcessingException(f"{layer.name()}: is no file; export it as GeoPackage first")
        path, *told = layer.source().split("|")
        named = [part.partition("=")[2] for part in told if part.startswith("layername=")]
        return path, named[0] if named else ""

    def output(self, flag, name):
        """A flag with the file that is to be written, nothing when it is skipped."""
        if self._parameters.get(name) in (None, ""):
            return []
        path = self._algorithm.parameterAsOutputLayer(self._parameters, name, self._context)
        return self._wanted(flag, name, path)

    def file(self, flag, name):
        """As `output`, for files that are no layers."""
        if self._parameters.get(name) in (None, ""):
            return []
        return self._wanted(flag, name, self._algorithm.parameterAsFileOutput(self._parameters, name, self._context))

    def _wanted(self, flag, name, path):
        if not path:
            return []
        self.outputs[name] = path
        return [f"{flag}={path}"]


_MODEL = (
    ("MODEL", "Model: auto, or a name that `segearth models` lists", "auto"),
    ("DEVICE", "Device: auto, cpu, cuda:0", "auto"),
)


def _background():
    return _text("BACKGROUND", "Class for what is unsure; or competing, distractors, threshold, none")


def _class_parameters():
    return [
        _text("CLASSES", "Classes by comma, synonyms by bar: water|river|lake,building|roof"),
        QgsProcessingParameterFile("CLASSES_FILE", "or a class file, one class a line", optional=True),
    ]


def _pixel_parameters():
    return [
        _number("GSD", "Resample to this size of a pixel for the model, in metres", 0),
        _text("BANDS", "Bands for red, green, blue, e.g. 4,3,2"),
        *(_advanced(_text(*one)) for one in _MODEL),
    ]


def _class_words(given):
    return [*given.flag("--classes", "CLASSES"), *given.flag("--classes-file", "CLASSES_FILE")]


def _pixel_words(given):
    named = {"--gsd": "GSD", "--bands": "BANDS", "--model": "MODEL", "--device": "DEVICE"}
    return [word for flag, name in named.items() for word in given.flag(flag, name)]


class Predict(CommandAlgorithm):
    """`segearth predict`."""

    NAME, TITLE = "predict", "Segment into classes you name"
    HELP = (
        "Segments a raster into the classes you name, without training. Phrases compete with each other, so name what "
        "else is in the scene too. The mask opens with a named row a class in the legend."
    )

    def parameters(self):
        """Scene, words, settings, outputs."""
        return [
            QgsProcessingParameterRasterLayer("INPUT", "Scene"),
            *_class_parameters(),
            _background(),
            _number("THRESHOLD", "Winners below this probability become background", 0, 1),
            QgsProcessingParameterFile("CALIBRATION", "Calibration", optional=True),
            *_pixel_parameters(),
            QgsProcessingParameterRasterDestination("OUTPUT", "Mask"),
            QgsProcessingParameterRasterDestination("CONFIDENCE", "Confidence", optional=True, createByDefault=False),
            QgsProcessingParameterVectorDestination(
                "POLYGONS", "Polygons", QgsProcessing.TypeVectorPolygon, optional=True, createByDefault=False
            ),
        ]

    def words(self, given):
        """The command line."""
        return [
            given.raster("INPUT"), *_class_words(given), *given.flag("--background", "BACKGROUND"),
            *given.flag("--threshold", "THRESHOLD"), *given.flag("--calibration", "CALIBRATION"), *_pixel_words(given),
            *given.output("--out", "OUTPUT"), *given.output("--confidence", "CONFIDENCE"),
            *given.output("--vector", "POLYGONS"),
        ]  # fmt: skip


class Calibrate(CommandAlgorithm):
    """`segearth calibrate`."""

    NAME, TITLE = "calibrate", "Calibrate by a few labels"
    HELP = (
        "Learns from a few labelled points, lines or polygons how the classes of a scene look. Give the calibration "
        "that it writes to Segment into classes you name."
    )

    def parameters(self):
        """Scene, labels, words, settings, output."""
        return [
            QgsProcessingParameterRasterLayer("INPUT", "Scene that the labels lie on"),
            QgsProcessingParameterVectorLayer("LABELS", "Labels", [QgsProcessing.TypeVectorAnyGeometry]),
            QgsProcessingParameterField("FIELD", "Field that names the class", "class", "LABELS", optional=True),
            *_class_parameters(),
            _background(),
            *_pixel_parameters(),
            QgsProcessingParameterFileDestination("OUTPUT", "Calibration", "Calibration (*.calibration)"),
        ]

    def words(self, given):
        """The command line."""
        path, layer = given.vector("LABELS")
        return [
            given.raster("INPUT"), f"--labels={path}", *([f"--layer={layer}"] if layer else []),
            *given.flag("--field", "FIELD"), *_class_words(given), *given.flag("--background", "BACKGROUND"),
            *_pixel_words(given), *given.file("--out", "OUTPUT"),
        ]  # fmt: skip


class Vectorize(CommandAlgorithm):
    """`segearth vectorize`."""

    NAME, TITLE = "vectorize", "Mask to polygons"
    HELP = (
        "Writes the classes of a mask as polygons with area and perimeter on the ground. Borders that two polygons "
        "share stay one line whatever is done to them."
    )

    def parameters(self):
        """Mask, what is drawn and how, output."""
        return [
            QgsProcessingParameterRasterLayer("INPUT", "Mask"),
            _text("CLASSES", "Classes to draw, e.g. water,building (empty: all but the background)"),
            _text("MIN_AREA", "Smaller pieces join their neighbours, e.g. 200px or 50m2"),
            _text("FILL_HOLES", "Fill smaller holes, e.g. 200px or 50m2"),
            _text("SIMPLIFY", "Simplify borders, e.g. 1px or 0.5m"),
            QgsProcessingParameterBoolean("SMOOTH", "Round the stairs of pixels off", False),
            QgsProcessingParameterBoolean("REGULARIZE", "Right angles, for buildings", False),
            QgsProcessingParameterBoolean("DISSOLVE", "One multipolygon a class", False),
            QgsProcessingParameterRasterLayer("CONFIDENCE", "Confidence, for its mean a polygon", optional=True),
            QgsProcessingParameterVectorDestination("OUTPUT", "Polygons", QgsProcessing.TypeVectorPolygon),
        ]

    def words(self, given):
        """The command line."""
        texts = ("CLASSES", "MIN_AREA", "FILL_HOLES", "SIMPLIFY")
        switches = ("SMOOTH", "REGULARIZE", "DISSOLVE")
        confidence = given.raster("CONFIDENCE")
        return [
            given.raster("INPUT"),
            *(word for name in texts for word in given.flag(f"--{name.lower().replace('_', '-')}", name)),
            *(word for name in switches for word in given.switch(f"--{name.lower()}", name)),
            *([f"--confidence={confidence}"] if confidence else []),
            *given.output("--out", "OUTPUT"),
        ]


class Evaluate(CommandAlgorithm):
    """`segearth evaluate`."""

    NAME, TITLE = "evaluate", "Score a mask against labels"
    HELP = (
        "IoU, precision and recall of each class, mean IoU and the confusion matrix, as JSON and, if wanted, a picture."
    )

    def parameters(self):
        """Mask, labels, words, outputs."""
        return [
            QgsProcessingParameterRasterLayer("INPUT", "Mask"),
            QgsProcessingParameterRasterLayer("LABELS", "Labels: codes in the order of the classes"),
            *_class_parameters(),
            _text("MAP", "Label codes as class codes, e.g. 1=0,2=1"),
            _text("IGNORE", "Label codes to leave out, e.g. 0,7"),
            QgsProcessingParameterFileDestination("OUTPUT", "Figures", "JSON (*.json)"),
            QgsProcessingParameterFileDestination(
                "PICTURE", "Confusion matrix", "PNG (*.png)", optional=True, createByDefault=False
            ),
        ]

    def initAlgorithm(self, configuration=None):  # noqa: N802
        """Declares the figures too."""
        super().initAlgorithm(configuration)
        for name, title in (("MIOU", "Mean IoU"), ("ACCURACY", "Overall accuracy")):
            self.addOutput(QgsProcessingOutputNumber(name, title))

    def words(self, given):
        """The command line."""
        return [
            given.raster("INPUT"), given.raster("LABELS"), *_class_words(given), *given.flag("--map", "MAP"),
            *given.flag("--ignore", "IGNORE"), *given.file("--json", "OUTPUT"), *given.file("--png", "PICTURE"),
        ]  # fmt: skip

    def results(self, given):
        """The figures as numbers."""
        told = json.loads(Path(given.outputs["OUTPUT"]).read_text(encoding="utf-8"))
        return {"MIOU": told["miou"], "ACCURACY": told["accuracy"]}


class Preview(CommandAlgorithm):
    """`segearth preview`."""

    NAME, TITLE = "preview", "Mask as a picture or a page"
    HELP = "A mask beside and over its scene, with legend, scale bar and the area of each class: .png, or .html."

    def parameters(self):
        """Mask, scene, output."""
        return [
            QgsProcessingParameterRasterLayer("INPUT", "Mask"),
            QgsProcessingParameterRasterLayer("SCENE", "Scene", optional=True),
            QgsProcessingParameterFileDestination("OUTPUT", "Picture or page", "Page (*.html);;Picture (*.png)"),
        ]

    def words(self, given):
        """The command line."""
        scene = given.raster("SCENE")
        return [given.raster("INPUT"), *([f"--scene={scene}"] if scene else []), *given.file("--out", "OUTPUT")]


ALGORITHMS = (Predict, Calibrate, Vectorize, Evaluate, Preview)
