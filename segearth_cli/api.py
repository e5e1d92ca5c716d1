"""The public functions: what `import segearth_cli as segearth` offers to scripts and notebooks.

They take the keywords that the commands take as flags (`threshold=0.3` for `--threshold 0.3`) and resolve them by the
commands' own functions, so that a notebook and a shell make the same mask, byte for byte.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli import raster
from segearth_cli.calibration import LabelSource
from segearth_cli.classes import ClassSet
from segearth_cli.console import note, untold
from segearth_cli.disk import make_temporary_folder, temporary_folder
from segearth_cli.errors import SegEarthError, UsageError
from segearth_cli.evaluation import LabelOptions
from segearth_cli.files import replacing
from segearth_cli.gate import Target, admit, named_files
from segearth_cli.jobs import mask_raster
from segearth_cli.keywords import Known, by_keyword, flags_by_name, taking
from segearth_cli.maps import PreviewOptions
from segearth_cli.options import build, options_of
from segearth_cli.prediction import AreaOptions, ClassOptions, PredictOptions, RunOptions
from segearth_cli.raster import ARRAY, Outputs, ReadOptions, Scene, as_file, files_of, legend, read_array
from segearth_cli.raster import open_scene as _open_scene
from segearth_cli.styles import write_style
from segearth_cli.training import Recipe, TrainOptions, image_files, run_targets
from segearth_cli.vector import VectorizeOptions
from segearth_cli.weights import ModelOptions

if TYPE_CHECKING:
    from affine import Affine
    from matplotlib.axes import Axes

    from segearth_cli.prediction import Predictor, Settings
    from segearth_cli.weights import Assembled

_RUN = ("batch_size", "workers", "quiet")  # of RunOptions; the others are for files that stay
_PREDICT = (
    *(told for told in options_of(ClassOptions) if told.name != "classes"),
    *(told for owner in (PredictOptions, ModelOptions, AreaOptions) for told in options_of(owner)),
    *(told for told in options_of(RunOptions) if told.name in _RUN),
)
_kept: dict[tuple[ModelOptions, ClassSet], Assembled] = {}  # the model of the last call
_NOT_LEARNED = ("calibration", "suggest", "aoi", "bbox")
_CALIBRATE = [told for told in (*_PREDICT, *options_of(LabelSource)) if told.name not in _NOT_LEARNED]
_LABELS = [told for told in options_of(LabelOptions) if told.name != "map"]
_TRAIN = (*options_of(TrainOptions), *options_of(Recipe))
_OWNERS = (VectorizeOptions, PreviewOptions, LabelOptions, ClassOptions)
_KEYWORDS: Known = {
    **flags_by_name((*_TRAIN, *(told for owner in _OWNERS for told in options_of(owner)), *_PREDICT)),
    **{"--map": "label_map", "--out": "out", "--path": "path"},  # what Python calls otherwise
}


def _note(line: str) -> None:
    note(by_keyword(line, _KEYWORDS))


_note_once = cache(_note)  # what is the same for one scene after another


@dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """A mask that `predict` made. Its files lie in a folder of their own, which goes when the mask goes."""

    path: Path
    """The mask as a GeoTIFF, byte for byte as the command writes it; `save` keeps it."""
    classes: ClassSet
    """Names, phrases and colours by code."""
    transform: Affine
    """From pixel corners (column, row) to map coordinates."""
    crs: Any
    """As rasterio gives it, or None."""
    run: Mapping[str, Any]
    """Everything that decided a pixel, as in the tag `SEGEARTH_RUN`."""
    _outputs: Outputs = field(repr=False)

    def __post_init__(self) -> None:
        weakref.finalize(self, shutil.rmtree, self.path.parent, ignore_errors=True)

    def __repr__(self) -> str:
        height, width = raster.size_of(self.path)
        return f"<Mask of {width} x {height} px: {', '.join(self.classes.names)}>"

    @cached_property
    def array(self) -> NDArray[np.uint8]:
        """Class codes (H, W) uint8; 255 = no data. Not to be written to, which no file would know of: copy it first."""
        codes: NDArray[np.uint8] = read_array(self.path)[0]
        codes.flags.writeable = False
        return codes

    @cached_property
    def confidence(self) -> NDArray[np.float32] | None:
        """The winner's probability (H, W) float32, 0 to 1, NaN without data; None unless asked for."""
        asked = self._outputs.confidence
        return None if asked is None else raster.read_confidence(asked).astype(np.float32)

    @cached_property
    def scores(self) -> NDArray[np.float32] | None:
        """Every class's probability (K, H, W) float32, NaN without data; None unless asked for."""
        return None if self._outputs.scores is None else read_array(self._outputs.scores)

    @taking((), _KEYWORDS)
    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the GeoTIFF, and what lies beside it (class names, a style for QGIS), to `path`, which it returns.

        Raises UsageError for a name of another format, and when there is a file already and `overwrite` is off.
        """
        path = Path(path)
        raster.geotiff(path, "--path", several=False)
        admit([Target(path, "path")], list, overwrite=overwrite)
        with replacing(path) as temporary:
            for end in ("", ".aux.xml"):
                shutil.copyfile(f"{self.path}{end}", f"{temporary}{end}")
            write_style(temporary, path, legend=legend(self.classes))
        return path

    @taking(options_of(VectorizeOptions), _KEYWORDS)
    def to_geodataframe(self, **options: Any) -> Any:
        """The classes as polygons in a GeoDataFrame; options: those of `vectorize`.

        Raises SegEarthError when geopandas is not installed.
        """
        try:
            import geopandas
        except ImportError:
            raise SegEarthError("to_geodataframe() needs geopandas: pip install 'segearth[notebook]'") from None
        with temporary_folder() as folder:
            return geopandas.read_file(vectorize(self, folder / "m.gpkg", **{"quiet": True} | options), layer="m")

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draws the mask in its colours with a legend of the classes that are there; the matplotlib Axes."""
        from matplotlib import pyplot

        from segearth_cli.maps import draw_in

        axes = axes or pyplot.subplots()[1]
        draw_in(axes, self.array, self.classes)
        return axes


@taking(_PREDICT, _KEYWORDS)
def predict(
    scene: str | Path | NDArray[Any],
    classes: str | Path | Sequence[str] | ClassSet | None = None,
    *,
    transform: Affine | Sequence[float] | None = None,
    crs: Any = None,
    nodata: float | str | None = None,
    confidence: bool = False,
    scores: bool = False,
    **options: Any,
) -> Mask:
    """The mask of a scene: a raster that GDAL can read, or an array (3, H, W) or (H, W, 3), or (H, W) for grey.

    classes: as of `--classes`, or a list of such words, a class file (Path), or a ClassSet; None with `preset`.
    transform (Affine, or six numbers), crs: where an array lies. nodata: the value without data, beside NumPy's mask.
    confidence, scores: whether the mask has them too. options: the flags of `segearth predict` that change a mask or
    say how it is computed, `-` as `_`, e.g. threshold=0.3, quiet=True; aoi may be a geometry of shapely.
    The model stays in memory for the next call. Raises SegEarthError and its kinds.
    """
    from segearth_cli.prediction import predict_scene, resolve_settings

    chosen, words = _classes(classes)
    told = None if nodata is None or isinstance(scene, np.ndarray) else str(nodata)
    settings = resolve_settings({"nodata": told} | words | options, chosen)
    folder = make_temporary_folder()
    try:
        with as_file(scene, transform=transform, crs=crs, nodata=nodata) as name:
            wanted = [kind for kind, asked in {"confidence": confidence, "scores": scores}.items() if asked]
            outputs = Outputs(folder / "mask.tif", **{kind: folder / f"{kind}.tif" for kind in wanted})  # type: ignore[arg-type]
            called = ARRAY if isinstance(scene, np.ndarray) else name
            predictor = _predictor(settings, options, lambda line: _note(line.replace(name, called)))
            summary = predict_scene(name, outputs, predictor)
        with raster.opened_dataset(outputs.mask) as ds:
            return Mask(outputs.mask, settings.classes, ds.transform, ds.crs, summary.run, outputs)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@taking(_CALIBRATE, _KEYWORDS)
def calibrate(
    scenes: str | Path | Sequence[str | Path], labels: str | Path, out: str | Path,
    classes: str | Path | Sequence[str] | ClassSet | None = None, *, overwrite: bool = False, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """Writes what labels say of the classes on scenes to `out`, for `predict(..., calibration=out)`; the hold-out.

    labels: points, lines or polygons with the field `class`, in any CRS, or a raster of codes. classes, options: as of
    `predict`, and the flags of `segearth calibrate`, e.g. field="kind". What comes back has the keys of its `--json`.
    """
    from segearth_cli.calibration import calibrate_to_file
    from segearth_cli.prediction import resolve_settings

    source, (chosen, words), target = build(LabelSource, options | {"labels": labels}), _classes(classes), Path(out)
    settings, names = resolve_settings(words | options, chosen), list(map(str, _several(scenes)))
    files = named_files(words | options, (*options_of(ClassOptions), *_PREDICT))
    admit([Target(target, "out")], lambda: (*files_of(str(labels), *names), *files), overwrite=overwrite)
    return calibrate_to_file(target, names, source, _predictor(settings, options, _note), settings)[1]


@taking(options_of(VectorizeOptions), _KEYWORDS)
def vectorize(mask: Mask | str | Path, out: str | Path, *, overwrite: bool = False, **options: Any) -> Path:
    """Writes the classes of a mask as polygons to `out`, in the format of its suffix, and returns it.

    options: the flags of `segearth vectorize`, e.g. min_area="50m2", simplify="1px", classes=("water",). Those of a
    Mask have its confidence as a field, where it has one.
    Raises RasterError, VectorError, UsageError.
    """
    from segearth_cli.vector import vectorize as write

    if isinstance(mask, Mask):
        options.setdefault("confidence", mask._outputs.confidence)
    source, target = _raster(mask), Path(out)
    files = named_files(options, options_of(VectorizeOptions))
    admit([Target(target, "out")], lambda: (*files_of(source), *files), overwrite=overwrite)
    return write(source, target, build(VectorizeOptions, options)).path


@taking(options_of(PreviewOptions), _KEYWORDS)
def preview(
    mask: Mask | str | Path, out: str | Path, scene: str | Path | None = None, *,
    overwrite: bool = False, **options: Any,
) -> Path:  # fmt: skip
    """Draws a mask, beside and over its scene where that is named, as .png or .html; returns `out`.

    options: the flags of `segearth preview`, e.g. size=800. Raises RasterError, UsageError.
    """
    from segearth_cli.maps import draw

    names = [_raster(mask), *([] if scene is None else [str(scene)])]
    admit([Target(Path(out), "out")], lambda: files_of(*names), overwrite=overwrite)
    return draw(names[0], Path(out), build(PreviewOptions, options), names[1] if scene is not None else None)


@taking(_LABELS, _KEYWORDS)
def evaluate(
    masks: Mask | str | Path | Sequence[Mask | str | Path], labels: Mask | str | Path | Sequence[Mask | str | Path],
    classes: str | Path | Sequence[str] | ClassSet | None = None, *, preset: str | None = None,
    label_map: Mapping[int, int] | str | None = None, ignore: int | str | Iterable[int | str] = (), **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """The figures of masks against their labels, one each, in order, as `segearth evaluate --json` has them.

    classes: as of `predict`, in the order of the label codes; None = those of `preset`, or of the masks. label_map:
    label codes as class codes. ignore: label codes left out. options: what `segearth evaluate` takes of labels,
    e.g. label_offset=-1, count_nodata=True, field="kind".
    """
    from segearth_cli import evaluation
    from segearth_cli.prediction import listed_classes

    ours, theirs = [_raster(one) for one in _several(masks)], [_raster(one, "label") for one in _several(labels)]
    if not ours or len(ours) != len(theirs):
        raise UsageError(f"{len(ours)} masks and {len(theirs)} labels: need one label for each mask")
    made, said = _classes(evaluation.classes_of(ours) if classes is None and preset is None else classes)
    chosen, setting = listed_classes(build(ClassOptions, said | {"preset": preset}), made)
    words = ",".join(f"{a}={b}" for a, b in label_map.items()) if isinstance(label_map, Mapping) else label_map
    asked = build(LabelOptions, options | {"map": words, "ignore": _several(ignore)})
    how = evaluation.EvaluateOptions.of(setting, asked, len(chosen), theirs)
    each = (evaluation.compare(mask, label, chosen, how) for mask, label in zip(ours, theirs, strict=True))
    total = sum(each, evaluation.Tally(evaluation.empty(len(chosen))))
    return evaluation.set_figures(chosen, total, pairs=len(ours), tilings=how.tilings)


@taking(_TRAIN, _KEYWORDS)
def train_upsampler(images: str | Path | Iterable[str | Path], out: str | Path, **options: Any) -> Path:
    """Trains SimFeatUp for a model on unlabelled images or folders of them; writes it to `out`, which it returns.

    options: the flags of `segearth train-upsampler`, e.g. model="vit-b16", steps=500, crop=224, overwrite=True.
    Raises TrainingError, WeightsError, UsageError.
    """
    from segearth_cli.training import train_on

    asked, recipe = build(TrainOptions, options), build(Recipe, options)
    names, target = list(map(str, _several(images))), Path(out)
    files = named_files(options, _TRAIN)
    admit(run_targets(target, resume=asked.resume), lambda: (*image_files(names), *files), overwrite=asked.overwrite)
    train_on(names, (), recipe, target, asked, notice=untold if asked.quiet else _note)
    return target


@taking(options_of(ReadOptions), _KEYWORDS)
def open_scene(path: str | Path, **options: Any) -> Scene:
    """A raster as `predict` sees it; options: bands, stretch and the others that say how it is read."""
    return _open_scene(str(path), build(ReadOptions, options))


def _classes(classes: str | Path | Sequence[str] | ClassSet | None) -> tuple[ClassSet | None, dict[str, Any]]:
    """Classes as `resolve_settings` takes them: made already, or in words by keyword."""
    if isinstance(classes, ClassSet):
        return classes, {}
    if isinstance(classes, Path):
        return None, {"classes_file": classes}
    if classes is None or isinstance(classes, str):
        return None, {"classes": classes}
    if not isinstance(classes, Sequence):
        kind = type(classes).__name__
        raise UsageError(f"classes of type {kind}: need words by comma, or a list of them, in order")
    words = list(classes)
    if bad := [word for word in words if not isinstance(word, str) or "," in word]:
        raise UsageError(f"classes={words!r}: need a class a text, synonyms by bars, not {bad[0]!r}")
    return None, {"classes": ",".join(words)}


def _raster(mask: Mask | str | Path, what: str = "mask") -> str:
    """The raster of a mask, or of a label; a run's folder is one too."""
    if not isinstance(mask, Mask | str | Path):
        raise UsageError(f"a {what} of type {type(mask).__name__}: need a Mask of predict(), or the path of a raster")
    return str(mask.path) if isinstance(mask, Mask) else mask_raster(str(mask))


def _several(given: Any) -> list[Any]:
    return [given] if isinstance(given, str | int | Path | Mask | np.ndarray) else list(given)


def _predictor(settings: Settings, options: Mapping[str, Any], notice: Callable[[str], None]) -> Predictor:
    """What makes masks, with the model of the last call if that is the same; what there is to say is told first."""
    from segearth_cli.prediction import Predictor

    notice = untold if options.get("quiet") else notice
    for line in settings.notes:
        (untold if notice is untold else _note_once)(line)
    model = partial(_model, settings.model, settings.classes, notice)
    return Predictor(model, settings.classes, settings.options, build(RunOptions, options, notice=notice))


def _model(options: ModelOptions, classes: ClassSet, notice: Callable[[str], None]) -> Assembled:
    """The model of the last call, kept for the next one."""
    from segearth_cli.weights import assemble

    found = _kept.get((options, classes))
    if found is None:
        _kept.clear()  # before the next one takes its memory
        found = _kept[options, classes] = assemble(options, classes, notice)
    return found
