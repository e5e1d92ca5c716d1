"""Tiny sets in the layouts that their authors publish and that converters write, made of noise."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio

from segearth_cli.presets import COLOUR, EVERY

DRIVERS = {".png": "PNG", ".jpg": "JPEG", ".tif": "GTiff", ".tiff": "GTiff"}


@dataclass(frozen=True)
class Made:
    """A layout: its files, as (image, label) below the set's folder; those of `others` are not counted."""

    preset: str
    pairs: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...] = ()
    coding: str = "codes"
    texts: dict[str, str] = field(default_factory=dict)
    strays: tuple[str, ...] = ()  # rasters that are neither


def one(image, label):
    return ((image, label),)


LAYOUTS = {
    "openearthmap": Made(
        "openearthmap",
        (
            ("aachen/images/aachen_1.tif", "aachen/labels/aachen_1.tif"),
            ("rio/images/rio_3.tif", "rio/labels/rio_3.tif"),
        ),
        one("aachen/images/aachen_2.tif", "aachen/labels/aachen_2.tif"),
        texts={"train.txt": "aachen_2.tif\n", "val.txt": "aachen_1.tif\nrio_3.tif\n"},
    ),
    "openearthmap converted": Made("openearthmap", one("img_dir/val/rio_1.tif", "ann_dir/val/rio_1.tif")),
    "loveda": Made(
        "loveda",
        (
            ("Val/Rural/images_png/3514.png", "Val/Rural/masks_png/3514.png"),
            ("Val/Urban/images_png/3514.png", "Val/Urban/masks_png/3514.png"),  # the same name twice
        ),
        one("Train/Rural/images_png/0.png", "Train/Rural/masks_png/0.png"),
        coding="from 1",
        strays=("Test/Rural/images_png/4191.png",),
    ),
    "loveda converted": Made("loveda", one("IMG_DIR/Val/3514.PNG", "ANN_DIR/Val/3514.PNG"), coding="from 1"),
    "isaid": Made(
        "isaid",
        one("val/images/images/P0003.png", "val/Semantic_masks/images/P0003_instance_color_RGB.png"),
        one("train/images/images/P0001.png", "train/Semantic_masks/images/P0001_instance_color_RGB.png"),
        coding="colours",
        strays=("val/Instance_masks/images/P0003_instance_id_RGB.png",),
    ),
    "isaid converted": Made(
        "isaid",
        one("img_dir/val/P0003_0_896_0_896.png", "ann_dir/val/P0003_0_896_0_896_instance_color_RGB.png"),
    ),
    "potsdam": Made(
        "potsdam",
        one("2_Ortho_RGB/top_potsdam_2_13_RGB.tif", "5_Labels_all_noBoundary/top_potsdam_2_13_label_noBoundary.tif"),
        one("2_Ortho_RGB/top_potsdam_2_10_RGB.tif", "5_Labels_all_noBoundary/top_potsdam_2_10_label_noBoundary.tif"),
        coding="colours",
        strays=(
            "1_DSM/dsm_potsdam_02_13.tif",
            "3_Ortho_IRRG/top_potsdam_2_13_IRRG.tif",
            "4_Ortho_RGBIR/top_potsdam_2_13_RGBIR.tif",
            "5_Labels_all/top_potsdam_2_13_label.tif",
        ),
    ),
    "potsdam converted": Made(
        "potsdam",
        one("img_dir/val/2_13_0_0_512_512.png", "ann_dir/val/2_13_0_0_512_512.png"),
        one("img_dir/train/2_10_0_0_512_512.png", "ann_dir/train/2_10_0_0_512_512.png"),
        coding="from 1",
    ),
    "vaihingen": Made(
        "vaihingen",
        one(
            "top/top_mosaic_09cm_area2.tif",
            "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE/top_mosaic_09cm_area2_noBoundary.tif",
        ),
        one(
            "top/top_mosaic_09cm_area1.tif",
            "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE/top_mosaic_09cm_area1_noBoundary.tif",
        ),
        coding="colours",
        strays=("dsm/dsm_09cm_matching_area2.tif",),
    ),
    "vaihingen converted": Made(
        "vaihingen", one("img_dir/val/area2_0_0_512_512.png", "ann_dir/val/area2_0_0_512_512.png"), coding="from 1"
    ),
    "uavid": Made(
        "uavid",
        (
            ("uavid_test/seq21/Images/000000.png", "uavid_test/seq21/Labels/000000.png"),
            ("uavid_test/seq22/Images/000000.png", "uavid_test/seq22/Labels/000000.png"),
        ),
        one("uavid_val/seq16/Images/000000.png", "uavid_val/seq16/Labels/000000.png"),
        coding="colours",
    ),
    "uavid as the authors name it": Made(
        "uavid", one("test_gt/seq21/Images/000000.png", "test_gt/seq21/Labels/000000.png"), coding="colours"
    ),
    "uavid without test labels": Made(
        "uavid", one("uavid_val/seq16/Images/000000.png", "uavid_val/seq16/Labels/000000.png"), coding="colours",
        strays=("uavid_test/seq21/Images/000000.png",),
    ),
    "uavid converted": Made(
        "uavid",
        one("img_dir/test/seq21_000000_0_1080_0_1280.png", "ann_dir/test/seq21_000000_0_1080_0_1280.png"),
    ),
    "udd5": Made(
        "udd5", one("val/src/DJI_0285.JPG", "val/gt/DJI_0285.png"), one("train/src/D1.JPG", "train/gt/D1.png"),
        coding="colours",
    ),
    "vdd": Made("vdd", one("test/src/s1.JPG", "test/gt/s1.png"), one("val/src/s2.JPG", "val/gt/s2.png")),
    "whu-aerial": Made(
        "whu-aerial", one("val/image/1.tif", "val/label/1.tif"), one("test/image/2.tif", "test/label/2.tif"), "white"
    ),
    "whu-aerial converted": Made("whu-aerial", one("val/image/1.png", "val/label_cvt/1.png")),
    "whu-sat-ii": Made(
        "whu-sat-ii", one("1.cropped/test/image/1.tif", "1.cropped/test/label/1.tif"), coding="white",
        others=one("1.cropped/train/image/2.tif", "1.cropped/train/label/2.tif"),
    ),
    "inria": Made(
        "inria", one("images/chicago10.tif", "gt/chicago10.tif"), one("images/chicago11.tif", "gt/chicago11.tif"),
        "white",
    ),
    "inria as downloaded": Made(
        "inria",
        one("AerialImageDataset/train/images/austin1.tif", "AerialImageDataset/train/gt/austin1.tif"),
        one("AerialImageDataset/train/images/austin2.tif", "AerialImageDataset/train/gt/austin2.tif"),
        "white",
        strays=("AerialImageDataset/test/images/bellingham1.tif",),
    ),
    "inria converted": Made(
        "inria",
        one("img_dir/split_test/austin1_0_0_1000_1000.png", "ann_dir/split_test/austin1_0_0_1000_1000.png"),
        one("img_dir/split_val/austin8_0_0_1000_1000.png", "ann_dir/split_val/austin8_0_0_1000_1000.png"),
    ),
    "xbd": Made(
        "xbd",
        one("test/images/guatemala_0_pre_disaster.png", "test/targets/guatemala_0_pre_disaster_target.png"),
        one("train/images/guatemala_1_pre_disaster.png", "train/targets/guatemala_1_pre_disaster_target.png"),
        coding="damage",
        strays=("test/images/guatemala_0_post_disaster.png", "test/targets/guatemala_0_post_disaster_target.png"),
    ),
    "chn6-cug": Made(
        "chn6-cug", one("val/images/am1_sat.jpg", "val/gt/am1_mask.png"),
        one("train/images/b_sat.jpg", "train/gt/b_mask.png"), "white",
    ),
    "chn6-cug converted": Made("chn6-cug", one("val/image_cvt/am1.jpg", "val/label_cvt/am1.png")),
    "deepglobe": Made(
        "deepglobe", one("DeepGlobe_test_1530/1_sat.jpg", "DeepGlobe_test_1530/1_mask.png"), (), "rgb white"
    ),
    "massachusetts": Made(
        "massachusetts", one("Massachusetts_test_49/img/10.jpg", "Massachusetts_test_49/gt/10.png"), (), "white"
    ),
    "massachusetts as downloaded": Made(
        "massachusetts", one("tiff/test/10.tiff", "tiff/test_labels/10.tif"),
        one("tiff/val/11.tiff", "tiff/val_labels/11.tif"), "white",
    ),
    "spacenet": Made("spacenet", one("SpaceNet_test_567/img/a.jpg", "SpaceNet_test_567/gt/a.png"), (), "white"),
    "wbs-si": Made(
        "wbs-si", one("Images/water_body_1.jpg", "Masks/water_body_1.jpg"),
        one("Images/water_body_2.jpg", "Masks/water_body_2.jpg"), "jpeg white",
        texts={"wbs-si_val.txt": "water_body_1\n"},
    ),
    "pie-sar": Made(
        "pie-sar", one("sar/1.tif", "label/1.tif"), one("sar/2.tif", "label/2.tif"), texts={"val.txt": "1\n"},
        strays=("rgb/1.tif",),
    ),
    "ddhr-korea-sar": Made("ddhr-korea-sar", one("sar/1.jpg", "label/1.png"), texts={"val.txt": "1.jpg\n"}),
    "whu-opt-sar": Made("whu-opt-sar", one("test/sar_dir/1.tif", "test/ann_dir/1.tif"), coding="from 1"),
    "yeseg-sar": Made("yeseg-sar", one("sar/1.png", "cvt_label/1.png"), texts={"test.txt": "1\n"}),
    "fusar": Made("fusar", one("sar/1.tif", "label/1.png"), texts={"test.txt": "1\n"}),
    "openearthmap-sar": Made("openearthmap-sar", one("test/sar_images/1.tif", "test/labels/1.tif")),
}  # fmt: skip
TILED = ("potsdam", "vaihingen", "isaid", "uavid", "inria")


def save(path: Path, array, **options):
    array = array if array.ndim == 3 else array[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    driver = DRIVERS[path.suffix.lower()]
    if len(array) == 3 and driver == "GTiff":
        options |= {"photometric": "RGB"}
    with rasterio.open(
        path, "w", driver=driver, count=len(array), height=array.shape[1], width=array.shape[2], dtype=array.dtype,
        **options,
    ) as ds:  # fmt: skip
        ds.write(array)
    return path


def coded(truth, preset, coding):
    """A label as its set is coded; class 255 = left out."""
    out = truth == 255
    if coding == "codes":
        return truth
    if coding == "from 1":
        return np.where(out, 0, truth + 1).astype(np.uint8)
    if coding in ("white", "jpeg white"):
        return (truth * 255).astype(np.uint8)
    if coding == "rgb white":
        return np.stack([truth * 255] * 3).astype(np.uint8)
    if coding == "damage":
        return np.where(truth == 1, 1 + np.arange(truth.shape[1]) % 4, 0).astype(np.uint8)
    assert coding == "colours"
    known = {code: key - COLOUR for key, code in EVERY[preset].label_codes.items() if key >= COLOUR}
    table = np.zeros((256, 3), np.uint8)
    for code, colour in known.items():
        table[code] = colour >> 16, colour >> 8 & 255, colour & 255
    return table[truth].transpose(2, 0, 1)


def truth_of(preset, height, width, seed=0, cell=8):
    """Random classes in cells; some cells left out where a set leaves codes out."""
    rng = np.random.default_rng(seed)
    setting = EVERY[preset]
    coarse = rng.integers(0, len(setting.rows), (-(-height // cell), -(-width // cell)), dtype=np.uint8)
    if 0 in setting.label_ignored:
        coarse[rng.random(coarse.shape) < 0.1] = 255
    return np.kron(coarse, np.ones((cell, cell), np.uint8))[:height, :width]


def make(name, root, height=40, width=48, only=None):
    """Writes a set of a layout below `root`; the classes of the labels that count, by the image's path."""
    made, wanted = LAYOUTS[name], {}
    for number, (image, label) in enumerate((*made.pairs, *made.others)):
        truth = truth_of(made.preset, height, width, seed=number)
        if label.casefold().endswith(".jpg") or made.coding == "jpeg white":
            truth = np.kron(truth[::8, ::8], np.ones((8, 8), np.uint8))[:height, :width]
        rng = np.random.default_rng(100 + number)
        pixels = rng.integers(0, 255, (3, height // 8 + 1, width // 8 + 1), dtype=np.uint8)
        pixels = pixels.repeat(8, 1).repeat(8, 2)[:, :height, :width]
        if only != "labels":
            save(root / image, pixels, **({"quality": 90} if image.casefold().endswith(".jpg") else {}))
        if only != "images":
            save(root / label, coded(truth, made.preset, made.coding))
        if (image, label) in made.pairs:
            wanted[image] = truth
    for stray in made.strays if only is None else ():
        save(root / stray, np.full((3 if "label" not in stray else 1, height, width), 7, np.uint8))
    for text, content in made.texts.items():
        (root / text).write_text(content)
    return wanted
