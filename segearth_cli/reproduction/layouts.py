"""Where the images and labels of the published sets lie: names of folders and files, and which of them are counted.

Layouts as their authors publish them, and as the converters of SegEarth-OV (github.com/likyoo/SegEarth-OV) and
mmsegmentation write them anew. Names are compared whatever their case; any raster format will do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

IMAGES = r"img_dir|imgs?|images?|images?_.*|src|sat|jpegimages|top|.*ortho_rgb"
LABELS = (
    r"ann_dir|anns?|annotations?|gts?|gts?_.*|labels?|labels?_.*|.*_labels?|masks?|masks?_.*|targets?|targets?_.*|"
    r".*ground_truth.*|5_labels.*|map"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a set's images and labels lie, and which of them the published figure counts."""

    expected: str
    """For people: the folders and files as published."""
    splits: tuple[str, ...] = ()
    """Folders (or words in their names) whose pairs are counted, the first that has pairs."""
    names: frozenset[str] = frozenset()
    """Names of the images that are counted where no folder tells, as `number` finds them."""
    listed: bool = False
    """Whether a list beside the images (`val.txt`, ...) names those that are counted."""
    number: str = r"(.+)"
    """Pattern of what tells one image from another in the end of a stem; its group is looked up in `names`."""
    images: str = IMAGES
    """Pattern of folders that hold images."""
    labels: str = LABELS
    """Pattern of folders that hold labels."""
    always_labels: str = ""
    """Pattern of folders all below which are labels, whatever their own names."""
    image_ends: tuple[str, ...] = ()
    """Ends of the stems of images, dropped before pairing."""
    label_ends: tuple[str, ...] = ()
    """Ends of the stems of labels, dropped before pairing; of two labels of an image, the one with the first counts."""
    left_out: str = ""
    """Pattern of folders and stems that are neither."""
    rows_first: bool = False
    """Whether names of tiles end in rows before columns, `_TOP_BOTTOM_LEFT_RIGHT`; else `_LEFT_TOP_RIGHT_BOTTOM`."""
    folders: tuple[str, ...] = ()
    """Names of the set's folder below a folder of all sets, beside the preset's own."""

    def is_left_out(self, word: str) -> bool:
        """Whether a folder or stem is neither image nor label."""
        return bool(self.left_out) and re.fullmatch(self.left_out, word, re.IGNORECASE) is not None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_POTSDAM = Layout(
    "2_Ortho_RGB/top_potsdam_2_13_RGB.tif with 5_Labels_all_noBoundary/top_potsdam_2_13_label_noBoundary.tif, "
    "or img_dir/val/*.png with ann_dir/val/*.png",
    splits=("val",),
    names=_words("2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13"),
    number=r"(?:.*[^0-9])?(\d+_\d+)",
    image_ends=("_rgb",),
    label_ends=("_label_noboundary", "_label"),
    left_out=r"1_dsm.*|3_ortho.*|4_ortho.*|.*_irrg|.*_rgbir|dsm_.*",
    folders=("isprs_potsdam", "potsdam_mmseg"),
)
_VAIHINGEN = Layout(
    "top/top_mosaic_09cm_area2.tif with ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE/"
    "top_mosaic_09cm_area2_noBoundary.tif, or img_dir/val/*.png with ann_dir/val/*.png",
    splits=("val",),
    names=_words(
        "area2 area4 area6 area8 area10 area12 area14 area16 area20 area22 area24 area27 area29 area31 area33 area35 "
        "area38"
    ),
    number=r"(?:.*_)?(area\d+)",
    label_ends=("_noboundary", ""),
    left_out=r"n?dsm|n?dsm_.*",
    folders=("isprs_vaihingen",),
)
_INRIA = Layout(
    "images/chicago10.tif with gt/chicago10.tif (the split of FCtL), or img_dir/split_test/*.png with "
    "ann_dir/split_test/*.png",
    splits=("split_test",),
    names=_words(
        "vienna3 chicago10 vienna20 austin1 tyrol-w25 vienna9 chicago14 vienna18 kitsap36 kitsap35 austin22 kitsap34 "
        "austin7 vienna11 kitsap14 kitsap25 austin12 vienna15 kitsap9 austin36 vienna6 chicago23 tyrol-w3 chicago26 "
        "austin24 tyrol-w1 tyrol-w36"
    ),
    folders=("aerialimagedataset",),
)
_SAR: dict[str, Any] = {
    "images": r"sar|sar_.*|images?|img_dir",
    "labels": LABELS + "|cvt_label",
    "left_out": r"rgb|opt|optical|rgb_.*",
}
_LISTED_SAR: dict[str, Any] = {"splits": ("val",), "listed": True} | _SAR

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "openearthmap": Layout(
            "REGION/images/*.tif with REGION/labels/*.tif and val.txt, or img_dir/val/*.tif with ann_dir/val/*.tif",
            splits=("val",), listed=True, folders=("openearthmap_wo_xbd",),
        ),
        "loveda": Layout(
            "Val/Rural/images_png/*.png with Val/Rural/masks_png/*.png (Urban too), or img_dir/val with ann_dir/val",
            splits=("val",),
        ),
        "isaid": Layout(
            "val/images/P0003.png with val/Semantic_masks/P0003_instance_color_RGB.png, or "
            "img_dir/val/P0003_0_896_0_896.png with ann_dir/val/P0003_0_896_0_896_instance_color_RGB.png",
            splits=("val",), always_labels="semantic_masks", label_ends=("_instance_color_rgb", ""),
            left_out=r"instance_masks|.*_instance_id_rgb", rows_first=True,
        ),
        "potsdam": _POTSDAM,
        "vaihingen": _VAIHINGEN,
        "uavid": Layout(
            "test_gt/seq21/Images/000000.png with test_gt/seq21/Labels/000000.png (or uavid_test/seq21/...), or "
            "img_dir/test/seq21_000000_0_1080_0_1280.png with ann_dir/test/*.png",
            splits=("test", "val"), left_out="trainid", rows_first=True,
        ),
        "udd5": Layout("val/src/*.JPG with val/gt/*.png", splits=("val",)),
        "vdd": Layout("test/src/*.JPG with test/gt/*.png", splits=("test",)),
        "whu-aerial": Layout(
            "val/image/*.png with val/label/*.png (or val/label_cvt)", splits=("val",),
            folders=("whu-bd",),
        ),
        "whu-sat-ii": Layout(
            "1.cropped/test/image/*.tif with 1.cropped/test/label/*.tif (or label_cvt)", splits=("test",),
            folders=("whu_sat_ii", "satellite_dataset_ii"),
        ),
        "inria": _INRIA,
        "xbd": Layout(
            "test/images/*_pre_disaster.png with test/targets/*_pre_disaster_target.png, or test/images_pre with "
            "test/targets_cvt_pre",
            splits=("test",), label_ends=("_target", ""), left_out=r".*_post_disaster.*|.*_post", folders=("xview2",),
        ),
        "chn6-cug": Layout(
            "val/images/*_sat.jpg with val/gt/*_mask.png, or val/image_cvt with val/label_cvt", splits=("val",),
            image_ends=("_sat",), label_ends=("_mask", ""), folders=("chn6_cug",),
        ),
        "deepglobe": Layout(
            "DeepGlobe_test_1530/img/*_sat.jpg with DeepGlobe_test_1530/gt/*_mask.png, or image_cvt with label_cvt",
            splits=("test",), image_ends=("_sat",), label_ends=("_mask", ""), folders=("deepglobe_test_1530",),
        ),
        "massachusetts": Layout(
            "Massachusetts_test_49/img/*.jpg with Massachusetts_test_49/gt/*.png (or label_cvt)", splits=("test",),
            folders=("massachusetts_test_49", "massachusetts_roads", "mass_roads"),
        ),
        "spacenet": Layout(
            "SpaceNet_test_567/img/*.jpg with SpaceNet_test_567/gt/*.png (or label_cvt)", splits=("test",),
            folders=("spacenet_test_567",),
        ),
        "wbs-si": Layout(
            "Images/water_body_1.jpg with Masks/water_body_1.jpg, and beside them the authors' list of the split, "
            "tools/dataset_converters/wbs-si_val.txt",
            splits=("val",), listed=True,
            folders=("wbs_si", "water-body-segmentation-in-satellite-images", "water_bodies_dataset"),
        ),
        "pie-sar": Layout("sar/*.tif with label/*.tif, and val.txt", folders=("pie-rgb-sar",), **_LISTED_SAR),
        "ddhr-korea-sar": Layout("korea/no_cloud/sar/*.jpg with label/*.png, and val.txt", **_LISTED_SAR),
        "ddhr-shandong-sar": Layout("shandong/no_cloud/sar/*.jpg with label/*.png, and val.txt", **_LISTED_SAR),
        "ddhr-xian-sar": Layout("xian/no_cloud/sar/*.jpg with label/*.png, and val.txt", **_LISTED_SAR),
        "whu-opt-sar": Layout("test/sar_dir/*.tif with test/ann_dir/*.tif", splits=("test",), **_SAR),
        "yeseg-sar": Layout(
            "sar/*.png with cvt_label/*.png, and test.txt", splits=("test",), listed=True, **_SAR
        ),
        "fusar": Layout("sar/*.tif with label/*.png, and test.txt", splits=("test",), listed=True, **_SAR),
        "openearthmap-sar": Layout("test/sar_images/*.tif with test/labels/*.tif", splits=("test",), **_SAR),
    }
)  # fmt: skip


def layout_of(preset: str) -> Layout:
    """The layout of a preset; both wordings of a set have one."""
    return LAYOUTS[preset.removesuffix("-cvpr")]
