"""The example deploy/examples/wordcount: its count is that of a plain count, whichever workers do it, and also when workers,
nodes and the coordinator are killed in the middle."""

import collections
import importlib.util
import itertools
import json
import os
import random
import re
import signal
import subprocess

import pytest

from tests.support.node import BROKEN, TOP, until

EXAMPLE = TOP / "deploy" / "examples" / "wordcount"
KINDS = {"sh": ["sh", str(EXAMPLE / "worker.sh")], "py": ["/usr/bin/python3", str(EXAMPLE / "worker.py")]}
QUEUE = "/v1/queues/wordcount"


def write_corpus(folder, seed, files, lines):
    """Files of words that are about as frequent as those of a language; returns the plain count."""
    chance = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(1, 12))) for _ in range(6000)]
    weights = [1 / (rank + 20) for rank in range(len(words))]
    folder.mkdir()
    for i in range(files):
        text = []
        for _ in range(chance.randint(1, 2 * lines)):
            line = chance.choices(words, weights, k=chance.randint(0, 20))
            text.append("".join(chance.choice([word, word, word.upper(), word.title()]) + chance.choice([" ", " ", ", ", "-", "\t", ". 17 "])
                                for word in line))
        (folder / f"{i} of the files.txt").write_text("\n".join(text) + chance.choice(["\n", ""]))
    (folder / "empty").write_text("")
    (folder / "no line end").write_text("the end")
    (folder / "no word").write_text("1 2 3\n\n\xe4\n")
    whole = b"\n".join(path.read_bytes() for path in folder.iterdir())
    return collections.Counter(word.decode().lower() for word in re.findall(b"[A-Za-z]+", whole))


def counted(output):
    """What the coordinator printed, each word once, the most frequent first."""
    pairs = [(word, int(number)) for word, number in (line.split(" ") for line in output.splitlines())]
    assert len(dict(pairs)) == len(pairs)
    assert pairs == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    return dict(pairs)


class Job:
    """Workers and a coordinator, each a group of processes that can be killed as one."""

    def __init__(self, cluster, directory, folder, *, ttl="10s", lines=1000, parts=3):
        nodes = [f"http://127.0.0.1:{port}" for port in cluster.http().values()]
        self.cluster, self.directory, self.folder, self.parts = cluster, directory, folder, parts
        self.environment = {**os.environ, "TMPDIR": str(directory), "PYTHONDONTWRITEBYTECODE": "1",
                            "TTL": ttl, "JOB": directory.name, "LINES_OF_A_MAP": str(lines)}
        self.nodes = nodes
        self.workers, self.count, self.coordinator = {}, 0, None

    def run(self, command, **options):
        self.nodes = self.nodes[1:] + self.nodes[:1]  # each starts at another node
        return subprocess.Popen(command, env={**self.environment, "COORDD": " ".join(self.nodes)}, start_new_session=True, text=True,
                                stdin=subprocess.DEVNULL, **options)

    def hire(self, kind):
        self.count += 1
        name = f"{kind}-{self.count}"
        self.workers[name] = self.run(KINDS[kind] + [name])

    def coordinate(self):
        with open(self.directory / "output", "w") as output:
            self.coordinator = self.run(["sh", str(EXAMPLE / "wordcount.sh"), str(self.folder), str(self.parts)], stdout=output)

    def output(self, limit_s=240.0):
        assert self.coordinator.wait(limit_s) == 0
        return (self.directory / "output").read_text()

    @staticmethod
    def kill(process):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ask(self, path):
        """The answer of any node; None: no node answers."""
        for node in self.cluster.running():
            try:
                status, _, answer = self.cluster[node].request("GET", path, timeout_s=5.0)
            except BROKEN:
                continue
            if status == 200:
                return answer
        return None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        ended = [name for name, worker in self.workers.items() if worker.poll() is not None]
        for process in [*self.workers.values(), self.coordinator]:
            if process and process.poll() is None:
                self.kill(process)
        assert kind is not None or not ended, ended


def size_of_maps(folder, lines):
    """Of what they say, as worker.py says it."""
    spec = importlib.util.spec_from_file_location("wordcount_worker", EXAMPLE / "worker.py")
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    return sum(len(json.dumps(worker.map_words({"map": path, "from": first, "to": first + lines - 1, "parts": 3})))
               for path in folder.iterdir() for first in range(1, path.read_bytes().count(b"\n") + 1, lines))


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_of_worker(shared, tmp_path, kind):
    """What the maps say is more than an answer takes: the reduces read some of it themselves."""
    expected = write_corpus(tmp_path / "text", kind, 40, 600)
    assert size_of_maps(tmp_path / "text", 200) > 1024 * 1024
    with Job(shared, tmp_path, tmp_path / "text", lines=200) as job:
        for _ in range(3):
            job.hire(kind)
        job.coordinate()
        assert counted(job.output()) == expected


def test_what_cannot_be_done_is_told(shared, tmp_path):
    """A map whose result would be over 64 KiB; both kinds give it up for good, and the coordinator says so."""
    for kind in KINDS:
        directory = tmp_path / kind
        directory.mkdir()
        folder = directory / "text"
        folder.mkdir()
        (folder / "words").write_text(" ".join("".join(chr(ord("a") + i // 26**k % 26) for k in range(4)) for i in range(12000)))
        with Job(shared, directory, folder) as job:
            job.hire(kind)
            job.coordinate()
            assert job.coordinator.wait(120) == 1
            assert (directory / "output").read_text() == ""


def with_a_task(job, chance):
    """A worker that is stopped while it has a task; None: none has one just now."""
    for name in chance.sample(list(job.workers), len(job.workers)):
        os.killpg(job.workers[name].pid, signal.SIGSTOP)
        claimed = job.ask(f"{QUEUE}/tasks?state=claimed")
        if claimed and name in [task["worker"] for task in claimed["tasks"]]:
            return name
        os.killpg(job.workers[name].pid, signal.SIGCONT)
    return None


def kill_somebody(job, what, chance):
    """It comes back. Says who it was."""
    if what == "node":
        name = chance.choice(job.cluster.running())
        job.cluster.kill9(name)
        job.cluster.restart(name)
        return what
    name = with_a_task(job, chance) if what == "worker with a task" else None
    what = "worker with a task" if name else "worker"
    name = name or chance.choice(list(job.workers))
    job.kill(job.workers.pop(name))
    job.hire(name.split("-")[0])
    return what


def test_workers_and_nodes_are_killed(quick, tmp_path):
    chance = random.Random(os.environ.get("WORDCOUNT_SEED", "1"))
    expected = write_corpus(tmp_path / "text", chance.random(), 40, 400)
    kills, victims = collections.Counter(), itertools.cycle(["worker with a task", "node", "worker with a task", "worker"])
    with Job(quick, tmp_path, tmp_path / "text", ttl="1s", lines=50) as job:
        for kind in [*KINDS] * 3:
            job.hire(kind)
        job.coordinate()
        done = 0

        def progress(more):
            nonlocal done
            queue = job.ask(QUEUE)
            if queue and queue["done"] >= done + more:
                done = queue["done"]
                return True
            return job.coordinator.poll() is not None

        until(lambda: progress(5), "the first maps are done", 60, 0.05)
        job.kill(job.coordinator)
        job.coordinate()
        while job.coordinator.poll() is None:
            kills[kill_somebody(job, next(victims), chance)] += 1
            until(lambda: progress(8), "the job goes on", 120, 0.02)
        assert counted(job.output()) == expected
        queue = job.ask(QUEUE)
        print(kills, queue["totals"])
        assert kills["node"] and kills["worker with a task"]
        assert queue["dead"] == queue["cancelled"] == queue["claimed"] == queue["ready"] == queue["blocked"] == 0
        assert queue["totals"]["lost"] > 0
