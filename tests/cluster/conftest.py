import os

import pytest

from tests.support.cluster import Cluster

SLOW = bool(os.environ.get("TEST_SANITIZE"))


@pytest.fixture
def cluster(tmp_path):
    """Three nodes that are ready; whoever still runs at the end must end well."""
    with Cluster(tmp_path, 3) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Three nodes for all tests of a file; none of them may harm it."""
    with Cluster(tmp_path_factory.mktemp("shared"), 3) as running:
        yield running
