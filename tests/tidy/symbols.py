"""What an archive needs from outside, as `nm` sees it: the purity of lib, and who may name whose functions."""

import re
import subprocess

# All that lib may take from outside: of the C library memory, strings, formatting into memory, and giving up; the rows,
# which the linker chooses; what the compiler knows of the processor.
LIB_MAY = re.compile(
    r"(malloc|calloc|realloc|free|abort|"
    r"mem(cpy|move|set|cmp|chr|rchr|mem)|str(len|nlen|cmp|ncmp|chr|rchr|spn|cspn|pbrk|str|cpy|ncpy)|stpcpy|"
    r"(v?sn?printf)|strto(ul|ull|l|ll)|qsort|bsearch|"
    r"__(mem(cpy|move|set)|stpcpy|str(cpy|ncpy)|v?sn?printf)_chk|__isoc99_sscanf|__isoc23_strto(ul|ull|l|ll)|"
    r"__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__cpu_model|__cpu_indicator_init|rows_(get|put|delete|seek|seek_back|try|decide|digest))$")
LIB_MAY_IN = {"check.c.o": re.compile(r"(stderr|fputs|fputc|fflush|v?fprintf|__v?fprintf_chk|fwrite)$")}

DATABASE = re.compile(r"mdb_")
HTTP = re.compile(r"h2o_")
SOCKETS = re.compile(r"(socket|bind|listen|accept4?|connect|send(to|msg)?|recv(from|msg)?|epoll_\w+|getaddrinfo)$")


def needed(archive):
    """(object, symbol) pairs that the archive's objects need and none of them defines."""
    listing = subprocess.run(["nm", "-A", str(archive)], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^[^:\n]*:([^:\n]+):\s*[0-9a-f]* ([A-Za-z]) (\S+)$", listing, re.M)
    defined = {symbol for _, kind, symbol in rows if kind not in "Uw"}
    return sorted({(name, symbol.split("@")[0]) for name, kind, symbol in rows if kind in "Uw" and symbol not in defined})


def lib_is_pure(archive):
    return [f"{name} needs {symbol}" for name, symbol in needed(archive)
            if not LIB_MAY.match(symbol) and not (name in LIB_MAY_IN and LIB_MAY_IN[name].match(symbol))]


def storage_knows_no_network(archive):
    return [f"{name} needs {symbol}" for name, symbol in needed(archive) if HTTP.match(symbol) or SOCKETS.match(symbol)]


def api_knows_no_database(archive):
    return [f"{name} needs {symbol}" for name, symbol in needed(archive) if DATABASE.match(symbol)]


def daemon_knows_neither(archive):
    return [f"{name} needs {symbol}" for name, symbol in needed(archive)
            if DATABASE.match(symbol) or (HTTP.match(symbol) and not name.startswith("peer"))]


RULES = {"lib": lib_is_pure, "storage": storage_knows_no_network, "api": api_knows_no_database, "daemon": daemon_knows_neither}
