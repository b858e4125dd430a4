import os

import pytest

from tests.support.checker import judge
from tests.support.cluster import QUICK, Cluster
from tests.support.history import History, failed, finish, look_at_all, start
from tests.support.node import until

SLOW = bool(os.environ.get("TEST_SANITIZE"))
LOCKS = [f"h{i}" for i in range(6)]
PACE = [] if SLOW else QUICK  # where leaders are to come and go, and nothing is promised of how long one stays


@pytest.fixture
def cluster(tmp_path):
    """Three nodes that are ready; whoever still runs at the end must end well."""
    with Cluster(tmp_path, 3) as running:
        yield running


@pytest.fixture
def calm(tmp_path):
    """The same, also where a file's clusters are quick."""
    with Cluster(tmp_path, 3) as running:
        yield running


@pytest.fixture
def quick(tmp_path):
    with Cluster(tmp_path, 3, *PACE) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Three nodes for all tests of a file; none of them may harm it."""
    with Cluster(tmp_path_factory.mktemp("shared"), 3) as running:
        yield running


def acquire(cluster, node, name, timeout_s=30.0, **options):
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return cluster.ask(node, "POST", f"/v1/locks/{name}/acquire?{query}", timeout_s=timeout_s)


class Load:
    """Clients on all nodes that run, and afterwards the judgement of all they were told."""

    def __init__(self, cluster, **options):
        self.cluster, self.history = cluster, History()
        self.workers = start(self.history, cluster.http, **{"count": 6, "think_s": 0.01, **options})

    def goes_on(self, grants=20, limit_s=60.0):
        before = self.history.count("granted")
        until(lambda: self.history.count("granted") >= before + grants or failed(self.workers), f"{grants} more grants", limit_s, 0.01)

    def judged(self):
        finish(self.workers)
        look_at_all(self.history, self.cluster.http, LOCKS)
        judge(self.history.ops)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.judged()
        else:
            for worker in self.workers:
                worker.ending.set()
