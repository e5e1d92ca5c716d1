"""A list of work that has one scene: what it gave, or the error that kept it from it."""

from segearth_cli.jobs.pool import Alone
from segearth_cli.jobs.work_list import WorkList


def only_one(entry, predictor, *, join, pool=None):
    """What one scene gave, computed in shards and joined. Raises why it could not be."""
    found = []
    WorkList([entry], predictor, lambda _, result: found.append(result), pool or Alone(), join=join, again=False).run()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]
