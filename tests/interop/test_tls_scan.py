#!/usr/bin/python3
"""sslscan and testssl.sh look at our TLS, by STARTTLS and implicit, and find nothing serious.

Everything stays on loopback: names are not looked up, nothing is fetched.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
from certificates import Authority  # noqa: E402
from harness import BASE, LOCAL, Postern, run  # noqa: E402

certificates = tempfile.TemporaryDirectory(prefix="postern-certificates-")
authority = Authority(certificates.name).make("mx", "mx.example.test", "localhost")
authority.make("rsa", "mx.example.test", "localhost", rsa=True)

EXTRA = """
listen: [{{address: "127.0.0.1:0"}}, {{address: "127.0.0.1:0", tls: implicit}}]
tls:
  certificate: "{certs}/mx.pem"
  key: "{certs}/mx.key"
  certificates: [{{certificate: "{certs}/rsa.pem", key: "{certs}/rsa.key"}}]
"""
# Lower ones are about CBC, which stays at the end of the list on purpose; see docs/howto/tls.md.
SERIOUS = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")


def server(program):
    base = BASE.replace('listen: [{{address: "127.0.0.1:0"}}]', "")
    return Postern(program, EXTRA + LOCAL, base, certs=certificates.name)


def scan(*words):
    return subprocess.run(words, capture_output=True, text=True, timeout=240)


def sslscan_sees_two_versions_and_only_ciphers_with_forward_secrecy(program):
    if not shutil.which("sslscan"):
        return "sslscan is not installed"
    with server(program) as p:
        for listener, how in ((0, ["--starttls-smtp"]), (1, [])):
            out = scan("sslscan", "--no-colour", *how, f"127.0.0.1:{p.listeners[listener]}").stdout
            enabled = re.findall(r"^(\S+) +enabled$", out, re.M)
            assert enabled == ["TLSv1.2", "TLSv1.3"], out
            ciphers = re.findall(r"^(?:Preferred|Accepted) +(\S+) +(\d+) bits +(\S+)", out, re.M)
            assert len(ciphers) > 8, out
            for version, bits, name in ciphers:
                assert int(bits) >= 128 and (version == "TLSv1.3" or name.startswith(("ECDHE-", "DHE-"))), name
            assert "Session renegotiation not supported" in out and "vulnerable to heartbleed" in out, out


def testssl_finds_nothing_serious(program):
    tool = shutil.which("testssl") or shutil.which("testssl.sh")
    if not tool:
        return "testssl.sh is not installed"
    with server(program) as p:
        for listener, how in ((0, ["--starttls", "smtp"]), (1, [])):
            file = f"{p.dir}/testssl-{listener}.json"
            r = scan(tool, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1", "--fast",
                     "--connect-timeout", "10", "--openssl-timeout", "10", "--jsonfile", file, *how,
                     "-p", "-s", "-f", "-U", f"localhost:{p.listeners[listener]}")
            findings = json.load(open(file))
            assert any(f["id"] == "TLS1_3" and "offered" in f["finding"] for f in findings), r.stdout
            assert any(f["id"] == "heartbleed" and f["severity"] == "OK" for f in findings), r.stdout
            serious = [f for f in findings if f["severity"] in SERIOUS]
            assert not serious, serious


run([sslscan_sees_two_versions_and_only_ciphers_with_forward_secrecy, testssl_finds_nothing_serious])
