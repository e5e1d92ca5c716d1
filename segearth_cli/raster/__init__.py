"""Pixels in and out: a raster opened as a scene, masks written and read, and where both lie on the ground.

A scene gives chips of 8-bit RGB and where they are data, at any resolution; writers give GeoTIFFs that appear whole or
not at all; readers give class codes in strips. Rasterio and GDAL are behind this door.
Knows no model, no class that is not in a file, and prints nothing.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.raster.area import Area, AreaOfInterest, area_in_box, area_of, area_of_interest
    from segearth_cli.raster.areas import ClassAreas, class_areas, ground_area
    from segearth_cli.raster.array_file import ARRAY, as_file, read_array, write_array
    from segearth_cli.raster.confidence import read_confidence
    from segearth_cli.raster.datasets import (
        CACHE_MB,
        Patient,
        environment,
        open_dataset,
        opened_dataset,
        quietly,
        reads_network,
    )
    from segearth_cli.raster.fingerprint import files_of, identity, local_files
    from segearth_cli.raster.georeference import (
        PLACED_BY,
        Frame,
        Georeferenced,
        Placement,
        crs_name,
        frame_from_json,
        frame_to_json,
        placed_by,
        region_georeference,
        same_pixels,
        without_georeference,
    )
    from segearth_cli.raster.grid import (
        Window,
        blocks,
        check_stride,
        shares,
        starts,
        strips,
        touching,
        window_weights,
        windows,
        working_size,
    )
    from segearth_cli.raster.ground import Ground, densified, map_crs
    from segearth_cli.raster.inspection import Inspection, inspect_scene
    from segearth_cli.raster.mask_reader import (
        MaskFile,
        Recoding,
        mask_strips,
        mask_windows,
        read_mask,
    )
    from segearth_cli.raster.mask_writer import Rows, label, layouts, refuse_world_files, write_cog, writing
    from segearth_cli.raster.onto import Onto, turns_apart
    from segearth_cli.raster.open import open_scene, open_sealed, refuse_own
    from segearth_cli.raster.options import (
        Blend,
        Compression,
        FileOptions,
        PixelOptions,
        ReadOptions,
        parse_bands,
        parse_sides,
        parse_stretch,
    )
    from segearth_cli.raster.outputs import BLOCK, Outputs, geotiff, made_of
    from segearth_cli.raster.paths import (
        SUFFIXES,
        UNTRUSTED,
        exists,
        local_folder,
        local_path,
        rasters_below,
        rasters_in_zip,
        stem,
    )
    from segearth_cli.raster.remote import is_remote, reason
    from segearth_cli.raster.scene import Chip, Scene
    from segearth_cli.raster.seal import Seal, check_still, check_unchanged, take_seal
    from segearth_cli.raster.side_file import legend, tables, write_side_files
    from segearth_cli.raster.sizes import Size, parse_area, parse_length
    from segearth_cli.raster.small import SmallMask, small_mask, small_scene, small_size
    from segearth_cli.raster.tags import NO_SCENE, is_result, read_tags, size_of, tagged_classes, tagged_run
    from segearth_cli.raster.untrusted import from_strangers, limit_memory
    from segearth_cli.raster.written import cut_off, temporary_raster

__all__ = [
    "ARRAY",
    "BLOCK",
    "CACHE_MB",
    "NO_SCENE",
    "PLACED_BY",
    "SUFFIXES",
    "UNTRUSTED",
    "Area",
    "AreaOfInterest",
    "Blend",
    "Chip",
    "ClassAreas",
    "Compression",
    "FileOptions",
    "Frame",
    "Georeferenced",
    "Ground",
    "Inspection",
    "MaskFile",
    "Onto",
    "Outputs",
    "Patient",
    "PixelOptions",
    "Placement",
    "ReadOptions",
    "Recoding",
    "Rows",
    "Scene",
    "Seal",
    "Size",
    "SmallMask",
    "Window",
    "area_in_box",
    "area_of",
    "area_of_interest",
    "as_file",
    "blocks",
    "check_still",
    "check_stride",
    "check_unchanged",
    "class_areas",
    "crs_name",
    "cut_off",
    "densified",
    "environment",
    "exists",
    "files_of",
    "frame_from_json",
    "frame_to_json",
    "from_strangers",
    "geotiff",
    "ground_area",
    "identity",
    "inspect_scene",
    "is_remote",
    "is_result",
    "label",
    "layouts",
    "legend",
    "limit_memory",
    "local_files",
    "local_folder",
    "local_path",
    "made_of",
    "map_crs",
    "mask_strips",
    "mask_windows",
    "open_dataset",
    "open_scene",
    "open_sealed",
    "opened_dataset",
    "parse_area",
    "parse_bands",
    "parse_length",
    "parse_sides",
    "parse_stretch",
    "placed_by",
    "quietly",
    "rasters_below",
    "rasters_in_zip",
    "read_array",
    "read_confidence",
    "read_mask",
    "read_tags",
    "reads_network",
    "reason",
    "refuse_own",
    "refuse_world_files",
    "region_georeference",
    "same_pixels",
    "shares",
    "size_of",
    "small_mask",
    "small_scene",
    "small_size",
    "starts",
    "stem",
    "strips",
    "tables",
    "tagged_classes",
    "tagged_run",
    "take_seal",
    "temporary_raster",
    "touching",
    "turns_apart",
    "window_weights",
    "windows",
    "without_georeference",
    "working_size",
    "write_array",
    "write_cog",
    "write_side_files",
    "writing",
]

__getattr__ = lazy_face(
    __name__,
    {
        "area": "Area AreaOfInterest area_in_box area_of area_of_interest",
        "areas": "ClassAreas class_areas ground_area",
        "array_file": "ARRAY as_file read_array write_array",
        "confidence": "read_confidence",
        "datasets": "CACHE_MB Patient environment open_dataset opened_dataset quietly reads_network",
        "fingerprint": "files_of identity local_files",
        "georeference": "PLACED_BY crs_name Frame Georeferenced Placement frame_from_json frame_to_json placed_by "
        "region_georeference same_pixels without_georeference",
        "grid": "Window check_stride blocks shares starts strips touching window_weights windows working_size",
        "ground": "Ground densified map_crs",
        "inspection": "Inspection inspect_scene",
        "mask_reader": "MaskFile Recoding mask_strips mask_windows read_mask",
        "mask_writer": "Rows label layouts refuse_world_files write_cog writing",
        "onto": "Onto turns_apart",
        "open": "open_scene open_sealed refuse_own",
        "options": "Blend Compression FileOptions PixelOptions ReadOptions parse_bands parse_sides parse_stretch",
        "outputs": "BLOCK Outputs geotiff made_of",
        "paths": "SUFFIXES UNTRUSTED exists local_folder local_path rasters_below rasters_in_zip stem",
        "remote": "is_remote reason",
        "scene": "Chip Scene",
        "sizes": "Size parse_area parse_length",
        "seal": "Seal check_still check_unchanged take_seal",
        "small": "SmallMask small_mask small_scene small_size",
        "tags": "NO_SCENE is_result read_tags size_of tagged_classes tagged_run",
        "side_file": "legend tables write_side_files",
        "untrusted": "from_strangers limit_memory",
        "written": "cut_off temporary_raster",
    },
)
