"""The rules of the house that can be read off its files. Each rule takes the top directory and returns complaints,
one line each; no complaint means that the rule is kept. test_house.py applies them, and proves each able to fail."""

import os
import re
import subprocess
from pathlib import Path

FILE_LINES_MAX, FUNCTION_LINES_MAX, README_LINES_MAX = 600, 70, 60

TOP_DIRECTORIES = {"coordd", "lib", "api", "storage", "tests", "deploy", ".ci"}
TOP_FILES = {"CMakeLists.txt", "README.md", "LICENSE", ".clang-format", ".gitignore"}
PRODUCT = ("lib/", "storage/", "api/", "coordd/")

C_LIBRARY = {"assert.h", "inttypes.h", "limits.h", "stdalign.h", "stdarg.h", "stdbool.h", "stddef.h", "stdint.h",
             "stdio.h", "stdlib.h", "string.h"}
NETWORK = re.compile(r"^(sys/socket|sys/un|sys/epoll|netinet/|arpa/|netdb|h2o|jansson|openssl/)")
DATABASE = re.compile(r"^lmdb")

# directory -> (own headers it may include, whether it may include a system header)
PERMISSIONS = {
    "lib/base/": (("base/",), lambda header, _: header in C_LIBRARY),
    "lib/raft/": (("base/", "raft/"), lambda header, _: header in C_LIBRARY),
    "lib/coord/": (("base/", "coord/"), lambda header, _: header in C_LIBRARY),
    "storage/": (("base/", "coord/", "raft/", "storage/"), lambda header, _: not NETWORK.match(header)),
    "api/": (("base/", "coord/", "api/"), lambda header, _: not DATABASE.match(header)),
    "coordd/": (("base/", "coord/", "raft/", "storage/", "api/", "coordd/"),
                lambda header, file: not DATABASE.match(header) and not header.startswith("jansson")
                and (not header.startswith("h2o") or Path(file).stem.startswith("peer"))),
}


def files(top):
    """Paths below top, as text: what git tracks, or all there is where there is no git."""
    listing = subprocess.run(["git", "-C", str(top), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if (Path(top) / ".git").exists() and listing.returncode == 0:
        names = [name for name in listing.stdout.split("\0") if name]
    else:
        names = [str(path.relative_to(top)) for path in Path(top).rglob("*")
                 if path.is_file() and not re.match(r"(\.git/|build|coordd-data)", str(path.relative_to(top)))]
    return sorted(name for name in names if (Path(top) / name).is_file())


def lines_of(top, name):
    return (Path(top) / name).read_text(encoding="utf-8", errors="replace").splitlines()


def written(top):
    """Files that people wrote and read: no licence, no corpus of bytes."""
    return [name for name in files(top) if name != "LICENSE" and "/corpus/" not in name]


def sources(top):
    return [name for name in files(top) if name.endswith((".c", ".h"))]


def known_places(top):
    found = []
    for name in files(top):
        head, _, rest = name.partition("/")
        if (head not in TOP_DIRECTORIES) if rest else (head not in TOP_FILES):
            found.append(f"{name}: the top level has no such thing")
        page = name.startswith("api/guide/") and name.endswith(".md")
        if name.startswith(PRODUCT) and not name.endswith((".c", ".h", "/README.md")) and "/ui/" not in name and not page:
            found.append(f"{name}: neither code nor README.md")
    return found


def permitted_includes(top):
    found = []
    for name in sources(top):
        room = next((room for room in PERMISSIONS if name.startswith(room)), None)
        if room is None:
            continue
        own, system = PERMISSIONS[room]
        for number, line in enumerate(lines_of(top, name), 1):
            include = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
            if not include:
                continue
            quote, header = include.groups()
            if not (header.startswith(own) if quote == '"' else system(header, name)):
                found.append(f"{name}:{number}: {room} may not include {header}")
    return found


def short_files(top):
    return [f"{name}: {count} lines, {FILE_LINES_MAX} are the limit" for name in written(top)
            if (count := len(lines_of(top, name))) >= FILE_LINES_MAX]


def short_functions(top):
    """clang-format puts the braces of a function, and of nothing else, alone into the first column."""
    found = []
    for name in sources(top):
        start = None
        for number, line in enumerate(lines_of(top, name), 1):
            if line == "{":
                start = number
            elif line == "}" and start is not None:
                if number - start + 1 > FUNCTION_LINES_MAX:
                    found.append(f"{name}:{start}: a function of {number - start + 1} lines, {FUNCTION_LINES_MAX} are the limit")
                start = None
    return found


LEFT_OVER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")


def nothing_left_over(top):
    return [f"{name}:{number}: {line.strip()}" for name in written(top)
            for number, line in enumerate(lines_of(top, name), 1) if LEFT_OVER.search(line)]


def readmes(top):
    found = []
    directories = {os.path.dirname(name) for name in written(top) if "/ui/" not in name and "/seeds-" not in name} - {"", ".ci"}
    for directory in sorted(directories):
        readme = f"{directory}/README.md"
        if not (Path(top) / readme).is_file():
            found.append(f"{directory}: no README.md")
        elif len(lines_of(top, readme)) > README_LINES_MAX:
            found.append(f"{readme}: {len(lines_of(top, readme))} lines, {README_LINES_MAX} are the limit")
    return found


def formatted(top):
    names = sources(top)
    if not names:
        return []
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *names], cwd=top, capture_output=True, text=True, check=False)
    bad = sorted({line.split(":", 1)[0] for line in done.stderr.splitlines() if "code should be clang-formatted" in line})
    if done.returncode and not bad:
        return [done.stderr.strip()]
    return [f"{name}: run clang-format -i on it" for name in bad]


RULES = (known_places, permitted_includes, short_files, short_functions, nothing_left_over, readmes, formatted)
