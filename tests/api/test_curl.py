"""One line of curl does it, as the documents say."""

import json
import subprocess


def curl(node, *words, check=True):
    """The words of a curl call, with PORT filled in."""
    done = subprocess.run(["curl", "-sS", "--max-time", "20"] + [w.replace("PORT", str(node.port)) for w in words],
                          capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def test_acquire_as_in_the_documents(node, name):
    out = curl(node, "-fX", "POST", f"localhost:PORT/v1/locks/{name}/acquire?ttl=30s&wait=60s&owner=ci-42").stdout
    grant = json.loads(out)
    assert grant["owner"] == "ci-42" and out.endswith("}\n")


def test_fail_makes_scripts_fail(node, name):
    url = f"localhost:PORT/v1/locks/{name}/acquire"
    assert curl(node, "-fX", "POST", url).returncode == 0
    assert curl(node, "-fX", "POST", url, check=False).returncode == 22


def test_dash_d_says_form_and_means_json(node, name):
    out = curl(node, "-d", '{"owner":"x","ttl":"5s"}', f"localhost:PORT/v1/locks/{name}/acquire").stdout
    assert json.loads(out)["expires_in_ms"] == 5000


def test_urlencoded_parameters(node, name):
    out = curl(node, "-G", "-X", "POST", "--data-urlencode", "owner=a b+c&d=ä", f"localhost:PORT/v1/locks/{name}/acquire").stdout
    assert json.loads(out)["owner"] == "a b+c&d=ä"


def test_a_token_in_a_shell_variable(node, name):
    token = curl(node, "-fX", "POST", "-H", "Accept: text/plain", f"localhost:PORT/v1/locks/{name}/acquire").stdout
    assert token.strip().isdigit() and token.count("\n") == 1
    out = curl(node, "-fX", "POST", f"localhost:PORT/v1/locks/{name}/release?token={token.strip()}").stdout
    assert json.loads(out)["name"] == name
    assert curl(node, "-H", "Accept: text/plain", f"localhost:PORT/v1/locks/{name}").stdout == "free\n"


def test_headers_are_enough(node, name):
    out = curl(node, "-o", "/dev/null", "-w", "%{http_code} %header{coord-token} %header{coord-lease}", "-X", "POST",
               f"localhost:PORT/v1/locks/{name}/acquire").stdout
    code, token, lease = out.split()
    assert code == "201" and token.isdigit() and lease.startswith("L")


def test_retry_goes_on_at_503_only(node, name):
    assert curl(node, "-X", "POST", f"localhost:PORT/v1/locks/{name}/acquire").returncode == 0
    done = curl(node, "-w", "%{num_connects}", "--retry", "3", "--retry-delay", "1", "-o", "/dev/null", "-X", "POST",
                f"localhost:PORT/v1/locks/{name}/acquire")
    assert done.stdout == "1"
    done = curl(node, "--retry", "1", "-w", "%{http_code}",
                "localhost:PORT/v1/locks?min_revision=9007199254740991")
    assert done.stdout.endswith("503") and done.stdout.count('"code":"min_revision_ahead"') == 2, "it asked twice"


def test_big_bodies_and_100_continue(node, name, tmp_path):
    body = tmp_path / "body"
    body.write_text(" " * 900000 + '{"owner":"big"}')
    out = curl(node, "-H", "Expect: 100-continue", "--data-binary", f"@{body}", f"localhost:PORT/v1/locks/{name}/acquire").stdout
    assert json.loads(out)["owner"] == "big"
    body.write_text(" " * (3 << 20))
    out = curl(node, "-H", "Expect: 100-continue", "--data-binary", f"@{body}", f"localhost:PORT/v1/locks/{name}/acquire").stdout
    assert json.loads(out)["code"] == "body_too_large"


def test_names_with_slashes(node, name):
    out = curl(node, "-X", "POST", f"localhost:PORT/v1/locks/a%2F{name}/acquire").stdout
    assert json.loads(out)["name"] == f"a/{name}"


def test_head(node, name):
    out = curl(node, "-I", f"localhost:PORT/v1/locks/{name}").stdout
    assert out.startswith("HTTP/1.1 200 OK") and "Coord-Revision: " in out
