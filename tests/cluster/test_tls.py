"""Certificates between nodes instead of a secret: who has none of the cluster's, or another node's, stays outside."""

import shutil
import subprocess

import pytest

from tests.cluster.conftest import Load, acquire
from tests.support.cluster import Cluster
from tests.support.node import until

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make certificates")


class Authority:
    def __init__(self, directory, name):
        self.directory = directory / name
        self.directory.mkdir()
        self.ca = self.directory / "ca.pem"
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", f"/CN={name}",
                 "-keyout", "ca.key", "-out", "ca.pem")

    def run(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def certificate(self, name):
        """(certificate, key) of the node."""
        self.run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.directory / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                 "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"


def certified(cluster, name, authority, ca=None, of=None):
    certificate, key = authority.certificate(of or name)
    node = cluster.make(name, "--initial-cluster", ",".join(f"{n}={cluster.address(n)}" for n in cluster.founders),
                        "--peer-cert", str(certificate), "--peer-key", str(key), "--peer-ca", str(ca or authority.ca))
    place = node.flags.index("--cluster-secret-file")
    del node.flags[place:place + 2]
    return node


def test_certificates(tmp_path):
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    cluster = Cluster(tmp_path, 3, proxied=True)
    for name in cluster.founders:
        certified(cluster, name, ours)
    with cluster:
        with Load(cluster, seed=41) as load:
            load.goes_on()
            for a in cluster.nodes:
                for b in cluster.nodes:
                    if a != b:
                        cluster.proxy.set(a, b, flip=1)
            load.goes_on()
            cluster.proxy.kill("n1", "n2")
            load.goes_on()
        victim = cluster.followers()[0]
        other = [name for name in cluster.nodes if name not in (victim, cluster.wait_leader())][0]
        for authority, ca, of in ((theirs, None, None), (theirs, ours.ca, None), (ours, None, other)):
            cluster.stop(victim)
            certified(cluster, victim, authority, ca, of)
            cluster.launch(victim)
            until(lambda: cluster[victim].process.poll() is not None or cluster.ask(victim, "GET", "/readyz")[0] == 503, "it stays outside")
            status, _, answer = cluster.ask(victim, "POST", "/v1/locks/a/acquire?ttl=1s", timeout_s=10)
            assert status in (0, 503), answer
            assert "certificate" in cluster[victim].log_text() or "certificate" in cluster[other].log_text()
            assert acquire(cluster, other, "b", ttl="500ms", wait="5s")[0] == 201
            if cluster[victim].process.poll() is not None:
                cluster.launch(victim)
        cluster.kill9(victim)
        certified(cluster, victim, ours)
        cluster.restart(victim)
        assert acquire(cluster, victim, "a", ttl="1s", wait="5s")[0] == 201
