"""Certificates for a test, made with the openssl command; nothing of them is kept."""
import os
import ssl
import subprocess


class Authority:
    """Files NAME.pem and NAME.key in a directory; the authority itself is "ca"."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.openssl("ca", "Test CA", ["-addext", "keyUsage=critical,keyCertSign,cRLSign"])

    def path(self, name, extension="pem"):
        return f"{self.directory}/{name}.{extension}"

    def openssl(self, name, common_name, more, kind=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "5", "-newkey", *kind, "-subj", f"/CN={common_name}",
                        "-keyout", self.path(name, "key"), "-out", self.path(name), *more], check=True, capture_output=True)

    def make(self, name, *names, common_name=None, rsa=False, itself=False):
        more = ["-addext", "basicConstraints=CA:FALSE"]
        if names:
            more += ["-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in names)]
        if not itself:
            more += ["-CA", self.path("ca"), "-CAkey", self.path("ca", "key")]
        self.openssl(name, common_name or names[0], more, ("rsa:2048",) if rsa else ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"))
        return self

    def context(self, certificate=None, check=True):
        """A client's; `certificate`: what it shows of itself."""
        c = ssl.create_default_context(cafile=self.path("ca"))
        if not check:
            c.check_hostname = False
            c.verify_mode = ssl.CERT_NONE
        if certificate:
            c.load_cert_chain(self.path(certificate), self.path(certificate, "key"))
        return c
