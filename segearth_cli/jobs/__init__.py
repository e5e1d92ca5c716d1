"""Many pieces of work on one or many machines: what there is to do, who is at it, what is done, how it is joined.

A run's folder holds a record for each shard; locks of the kernel keep two processes from one shard; engines hand
shards to processes of this machine or to Dask. Every shard is computed by `prediction`'s one way.
Knows no command line.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.jobs.compute import Job, Share, refuse_folder
    from segearth_cli.jobs.dask import cluster
    from segearth_cli.jobs.forecasts import Forecast, forecast
    from segearth_cli.jobs.lock import claim
    from segearth_cli.jobs.manifest import (
        Outcome,
        SceneEntry,
        growing_summary,
        is_summary,
        read_manifest,
        summary_lines,
        write_summary,
    )
    from segearth_cli.jobs.mask_of import is_in_parts, mask_raster
    from segearth_cli.jobs.merge import (
        Joinable,
        complete,
        replaceable,
        vrts,
        write_geotiff,
        write_joined_cog,
        write_vrts,
    )
    from segearth_cli.jobs.place import Place, parse_place
    from segearth_cli.jobs.pool import Alone, Pool
    from segearth_cli.jobs.processes import devices
    from segearth_cli.jobs.run_folder import Ledger, Shard, open_ledger
    from segearth_cli.jobs.shard_size import shard_side, shards_needed
    from segearth_cli.jobs.stac import write_stac
    from segearth_cli.jobs.store import COLLECTION, holds_run, open_store
    from segearth_cli.jobs.typed import plain
    from segearth_cli.jobs.work_list import Entry, WorkList

__all__ = [
    "COLLECTION",
    "Alone",
    "Entry",
    "Forecast",
    "Job",
    "Joinable",
    "Ledger",
    "Outcome",
    "Place",
    "Pool",
    "SceneEntry",
    "Shard",
    "Share",
    "WorkList",
    "claim",
    "cluster",
    "complete",
    "devices",
    "forecast",
    "growing_summary",
    "holds_run",
    "is_in_parts",
    "is_summary",
    "mask_raster",
    "open_ledger",
    "open_store",
    "parse_place",
    "plain",
    "read_manifest",
    "refuse_folder",
    "replaceable",
    "shard_side",
    "shards_needed",
    "summary_lines",
    "vrts",
    "write_geotiff",
    "write_joined_cog",
    "write_stac",
    "write_summary",
    "write_vrts",
]

__getattr__ = lazy_face(
    __name__,
    {
        "compute": "Job Share refuse_folder",
        "dask": "cluster",
        "forecasts": "Forecast forecast",
        "lock": "claim",
        "manifest": "SceneEntry Outcome growing_summary is_summary read_manifest summary_lines write_summary",
        "mask_of": "is_in_parts mask_raster",
        "merge": "Joinable complete replaceable vrts write_geotiff write_joined_cog write_vrts",
        "place": "Place parse_place",
        "pool": "Alone Pool",
        "processes": "devices",
        "run_folder": "Ledger Shard open_ledger",
        "stac": "write_stac",
        "store": "COLLECTION holds_run open_store",
        "shard_size": "shard_side shards_needed",
        "typed": "plain",
        "work_list": "Entry WorkList",
    },
)
