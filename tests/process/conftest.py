import os
import subprocess

import pytest

from tests.support.node import Node, binary


@pytest.fixture
def node(tmp_path):
    """A fresh node that is running; killed afterwards if the test leaves it so."""
    running = Node(tmp_path)
    try:
        yield running.start()
        if running.process.poll() is None:
            assert running.stop() == 0, running.log_text()
    finally:
        running.kill9()


@pytest.fixture
def run(tmp_path):
    """Runs the program until it ends by itself: (exit code, what it said on standard error)."""

    def run_program(*arguments, environment=None, limit_s=60):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("COORDD_")}
        done = subprocess.run([binary()] + [str(a) for a in arguments], env=clean | (environment or {}), cwd=tmp_path,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=limit_s, check=False)
        return done.returncode, done.stderr

    return run_program
