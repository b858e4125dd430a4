"""Is the house in order? Each rule on the tree, and each rule on samples that break it: a rule that cannot fail is none."""

import os
import subprocess
from pathlib import Path

import pytest

import house
import symbols

TOP = Path(__file__).resolve().parents[2]
ARCHIVES = dict(pair.split("=") for pair in os.environ.get("TEST_ARCHIVES", "").split(",") if pair)


def keeps(rule, what):
    complaints = rule(what)
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule):
    keeps(rule, TOP)


@pytest.mark.parametrize("archive", symbols.RULES)
def test_the_archive_keeps(archive):
    keeps(symbols.RULES[archive], ARCHIVES[archive])


def test_the_archives_are_read_at_all():
    for archive in ARCHIVES:
        assert len(symbols.needed(ARCHIVES[archive])) > 5, archive


GOOD = {
    ".clang-format": (TOP / ".clang-format").read_text(),
    "README.md": "x\n",
    "lib/README.md": "x\n",
    "lib/base/README.md": "x\n",
    "lib/base/x.c": '#include "base/x.h"\n\n#include <string.h>\n\nint x(void)\n{\n    return 1;\n}\n',
}

BODY = "    x();\n"
BROKEN = [
    (house.known_places, "attic/x.c", "int x;\n", "attic/x.c"),
    (house.known_places, "notes.txt", "x\n", "notes.txt"),
    (house.known_places, "lib/base/x.o", "x\n", "lib/base/x.o"),
    (house.permitted_includes, "lib/base/y.c", "#include <time.h>\n", "lib/base/y.c:1"),
    (house.permitted_includes, "lib/base/y.c", '\n#include "coord/key.h"\n', "lib/base/y.c:2"),
    (house.permitted_includes, "lib/raft/y.h", '#include "coord/key.h"\n', "lib/raft/y.h:1"),
    (house.permitted_includes, "lib/coord/primitive/y.c", "#  include <lmdb.h>\n", "lib/coord/primitive/y.c:1"),
    (house.permitted_includes, "lib/coord/y.c", '#include "raft/raft.h"\n', "lib/coord/y.c:1"),
    (house.permitted_includes, "storage/y.c", "#include <sys/socket.h>\n", "storage/y.c:1"),
    (house.permitted_includes, "storage/y.c", '#include "api/api.h"\n', "storage/y.c:1"),
    (house.permitted_includes, "api/y.c", "#include <lmdb.h>\n", "api/y.c:1"),
    (house.permitted_includes, "api/y.c", '#include "storage/state.h"\n', "api/y.c:1"),
    (house.permitted_includes, "api/y.c", '#include "raft/raft.h"\n', "api/y.c:1"),
    (house.permitted_includes, "coordd/y.c", "#include <lmdb.h>\n", "coordd/y.c:1"),
    (house.permitted_includes, "coordd/y.c", "#include <h2o.h>\n", "coordd/y.c:1"),
    (house.short_files, "tests/y.py", "x\n" * 600, "tests/y.py"),
    (house.short_functions, "api/y.c", "void y(void)\n{\n" + BODY * 69 + "}\n", "api/y.c:2"),
    (house.nothing_left_over, "api/y.c", "/* " + "TO" + "DO: all of it */\n", "api/y.c:1"),
    (house.nothing_left_over, "deploy/y.sh", "# " + "FIX" + "ME\n", "deploy/y.sh:1"),
    (house.readmes, "api/y.c", "int y;\n", "api: no README.md"),
    (house.readmes, "lib/README.md", "x\n" * 61, "lib/README.md"),
    (house.formatted, "api/y.c", "int y( void );\n", "api/y.c"),
]


def plant(top, sample):
    for name, text in sample.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_a_good_tree_passes(tmp_path, rule):
    plant(tmp_path, GOOD | {"lib/base/y.c": "void y(void)\n{\n" + BODY * 68 + "}\n", "tests/README.md": "x\n" * 60,
                            "tests/y.py": "x\n" * 599})
    assert rule(tmp_path) == []


@pytest.mark.parametrize("rule, name, text, named", BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_tree_is_found(tmp_path, rule, name, text, named):
    plant(tmp_path, GOOD | {name: text})
    complaints = rule(tmp_path)
    assert len(complaints) == 1 and complaints[0].startswith(named)


def archive_of(directory, name, text):
    (directory / f"{name}.c").write_text(text)
    subprocess.run(["gcc", "-O0", "-w", "-c", f"{name}.c", "-o", f"{name}.c.o"], cwd=directory, check=True)
    subprocess.run(["ar", "rcs", "sample.a", f"{name}.c.o"], cwd=directory, check=True)
    return directory / "sample.a"


def calls(function):
    return f"void {function}(); void use(void) {{ {function}(); }}\n"


@pytest.mark.parametrize("archive, function", [
    *(("lib", name) for name in ("clock_gettime", "gettimeofday", "time", "clock", "nanosleep", "rand", "random", "getrandom",
                                 "open", "fopen", "read", "write", "close", "unlink", "fprintf", "printf", "puts", "perror",
                                 "socket", "poll", "pthread_create", "pthread_mutex_lock", "getenv", "strdup", "strndup",
                                 "asprintf", "getline", "reallocarray", "aligned_alloc", "mmap", "exit", "signal", "localtime_r",
                                 "mdb_get", "h2o_send")),
    *(("storage", name) for name in ("h2o_send", "socket", "connect", "epoll_wait", "recvmsg")),
    *(("api", name) for name in ("mdb_get", "mdb_txn_begin")),
    *(("daemon", name) for name in ("mdb_get", "h2o_send")),
])
def test_a_forbidden_symbol_is_found(tmp_path, archive, function):
    assert symbols.RULES[archive](archive_of(tmp_path, "sample", calls(function))) == [f"sample.c.o needs {function}"]


@pytest.mark.parametrize("archive, name, function", [("lib", "check", "fputs"), ("lib", "y", "memcpy"), ("lib", "y", "malloc"),
                                                     ("storage", "y", "mdb_get"), ("api", "y", "h2o_send"),
                                                     ("daemon", "peers", "h2o_send"), ("daemon", "y", "clock_gettime")])
def test_a_permitted_symbol_passes(tmp_path, archive, name, function):
    assert symbols.RULES[archive](archive_of(tmp_path, name, calls(function))) == []


def test_what_the_archive_defines_itself_is_not_needed(tmp_path):
    assert symbols.lib_is_pure(archive_of(tmp_path, "y", "void open() {} void use(void) { open(); }\n")) == []
