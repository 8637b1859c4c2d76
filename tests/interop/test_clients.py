#!/usr/bin/python3
"""The mail programs of the field as clients: in clear, by STARTTLS, under TLS, with each mechanism that they know."""
import os
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
from certificates import Authority  # noqa: E402
from harness import LOCAL, Postern, run, wait  # noqa: E402

HEAD = """
hostname: mx.example.test
run_directory: "{dir}/run"
workers: 2
spool: {{directory: "{dir}/spool", reserve: 1MiB, minfree: 1MiB}}
history: {{directory: "{dir}/history"}}
log: {{events: "{dir}/events.log"}}
mynetworks: []
listen:
  - {{address: "127.0.0.1:0"}}
  - {{address: "127.0.0.1:0", service: submission}}
  - {{address: "127.0.0.1:0", service: submission, tls: implicit}}
tls: {{certificate: "{certs}/mx.pem", key: "{certs}/mx.key"}}
auth: {{password_file: "{certs}/passwords"}}
"""
USER, PASSWORD = "ann@example.test", "s3cret word"
CLEAR, STARTTLS, TLS = "clear", "starttls", "tls"
LISTENER = {CLEAR: 0, STARTTLS: 1, TLS: 2}

files = tempfile.TemporaryDirectory(prefix="postern-clients-")
authority = Authority(files.name)
authority.make("mx", "localhost", "mx.example.test")
CA = authority.path("ca")


def message(to, subject):
    return (f"From: {USER}\nTo: {to}\nSubject: {subject}\nDate: Thu, 26 Nov 2026 01:00:00 +0000\nMessage-ID: <{subject}@client.test>\n"
            "\nA line.\n.\n..dots\nThe end.\n")


def command(words, text=None, env=None, ok=True):
    home = tempfile.mkdtemp(dir=files.name)
    r = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, cwd=home,
                       env={**os.environ, "HOME": home, "LC_ALL": "C.UTF-8", "SSL_CERT_FILE": CA, **(env or {})})
    assert not ok or r.returncode == 0, (words, r.returncode, r.stdout[-1500:], r.stderr[-1500:])
    return r


def write(name, text):
    path = f"{files.name}/{name}"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, 0o600)
    return path


def swaks(port, way, mechanism, to, text):
    words = ["swaks", "--server", f"localhost:{port}", "--from", USER, "--to", to, "--data", "-", "--ehlo", "client.test"]
    words += {CLEAR: [], STARTTLS: ["--tls"], TLS: ["--tls-on-connect"]}[way]
    if way != CLEAR:
        words += ["--tls-verify", "--tls-ca-path", CA]
    if mechanism:
        words += ["--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD]
    command(words, text)


def msmtp(port, way, mechanism, to, text):
    lines = ["account default", "host localhost", f"port {port}", f"from {USER}", "domain client.test",
             "tls on" if way != CLEAR else "tls off", f"tls_starttls {'on' if way == STARTTLS else 'off'}", f"tls_trust_file {CA}"]
    if mechanism:
        lines += [f"auth {mechanism.lower()}", f"user {USER}", f"password {PASSWORD}"]
    command(["msmtp", "-C", write("msmtprc", "\n".join(lines) + "\n"), to], text)


def curl(port, way, mechanism, to, text):
    words = ["curl", "-sS", "--url", f"{'smtps' if way == TLS else 'smtp'}://localhost:{port}/client.test", "--mail-from", USER,
             "--mail-rcpt", to, "--upload-file", write("curl.eml", text), "--crlf", "--cacert", CA]
    if way == STARTTLS:
        words += ["--ssl-reqd"]
    if mechanism:
        words += ["--user", f"{USER}:{PASSWORD}", "--login-options", f"AUTH={mechanism}"]
    command(words)


def s_nail(port, way, mechanism, to, text):
    user = USER.replace("@", "%40")
    url = (f"smtps://{user}@localhost:{port}" if way == TLS else f"smtp://{user + '@' if mechanism else ''}localhost:{port}")
    words = ["s-nail", "-n", "-S", "v15-compat", "-S", f"mta={url}", "-S", f"from={USER}", "-S", "hostname=client.test",
             "-S", f"smtp-auth={mechanism.lower() if mechanism else 'none'}", "-S", f"tls-ca-file={CA}", "-S", "tls-ca-no-defaults",
             "-S", "tls-verify=strict", "-s", text.split("Subject: ")[1].split("\n")[0]]
    if way == STARTTLS:
        words += ["-S", "smtp-use-starttls"]
    if mechanism:
        words += ["-S", f"password={PASSWORD.replace(' ', chr(32))}"]
    command([*words, to], text.split("\n\n", 1)[1])


def mutt(port, way, mechanism, to, text):
    user = USER.replace("@", "%40")
    url = f"{'smtps' if way == TLS else 'smtp'}://{user + '@' if mechanism else ''}localhost:{port}/"
    rc = [f'set smtp_url="{url}"', f'set from="{USER}"', "set use_envelope_from=yes", f'set certificate_file="{CA}"', "set record=''",
          f"set ssl_starttls={'yes' if way == STARTTLS else 'no'}", f"set ssl_force_tls={'no' if way == CLEAR else 'yes'}", "set copy=no",
          f'set ssl_ca_certificates_file="{CA}"', 'set hostname="client.test"']
    if mechanism:
        rc += [f'set smtp_pass="{PASSWORD}"', f'set smtp_authenticators="{mechanism.lower()}"']
    command(["mutt", "-n", "-F", write("muttrc", "\n".join(rc) + "\n"), "-s", text.split("Subject: ")[1].split("\n")[0], "--", to],
            text.split("\n\n", 1)[1])


def python_smtplib(port, way, mechanism, to, text):
    context = ssl.create_default_context(cafile=CA)
    s = (smtplib.SMTP_SSL("localhost", port, context=context, timeout=30) if way == TLS else
         smtplib.SMTP("localhost", port, timeout=30))
    if way == STARTTLS:
        s.starttls(context=context)
    s.ehlo("client.test")
    if mechanism:
        s.user, s.password = USER, PASSWORD
        s.auth(mechanism, {"PLAIN": s.auth_plain, "LOGIN": s.auth_login}[mechanism])
    s.sendmail(USER, [to], text)
    s.quit()


def perl_net_smtp(port, way, mechanism, to, text):
    script = """
use Net::SMTP; use Authen::SASL; my ($port, $way, $mechanism, $from, $to, $user, $password, $ca) = @ARGV; my $text = do { local $/; <STDIN> };
my $s = Net::SMTP->new('localhost', Port => $port, Hello => 'client.test', SSL => $way eq 'tls', SSL_ca_file => $ca, Timeout => 30)
	or die "new: $@";
if ($way eq 'starttls') { $s->starttls(SSL_ca_file => $ca) or die "starttls: $@ " . $s->message; }
if ($mechanism) {
	my $sasl = Authen::SASL->new(mechanism => $mechanism, callback => { user => $user, authname => $user, pass => $password });
	$s->auth($sasl) or die 'auth: ' . $s->message;
}
$s->mail($from) && $s->to($to) && $s->data($text) or die 'send: ' . $s->message;
$s->quit or die 'quit: ' . $s->message;
"""
    command(["perl", "-e", script, str(port), way, mechanism or "", USER, to, USER, PASSWORD, CA], text)


def nodemailer(port, way, mechanism, to, text):
    script = """
const nodemailer = require('nodemailer'); const [port, way, mechanism, from, to, user, pass, ca] = process.argv.slice(2);
let raw = ''; process.stdin.on('data', d => raw += d).on('end', () => {
  const t = nodemailer.createTransport({ host: '127.0.0.1', port: +port, name: 'client.test', secure: way === 'tls',
    requireTLS: way === 'starttls', ignoreTLS: way === 'clear', tls: { servername: 'localhost', ca: require('fs').readFileSync(ca) },
    auth: mechanism ? { user, pass } : undefined, authMethod: mechanism || undefined });
  t.sendMail({ envelope: { from, to }, raw }, e => { if (e) { console.error(e); process.exit(1); } t.close(); });
});
"""
    command(["node", write("send.js", script), str(port), way, mechanism or "", USER, to, USER, PASSWORD, CA], text,
            {"NODE_PATH": "/usr/share/nodejs"})


def git_send_email(port, way, mechanism, to, text):
    words = ["git", "send-email", "--quiet", f"--from={USER}", f"--to={to}", "--smtp-server=localhost", f"--smtp-server-port={port}",
             "--smtp-domain=client.test", "--confirm=never", "--suppress-cc=all", f"--smtp-ssl-cert-path={CA}"]
    words += {CLEAR: [], STARTTLS: ["--smtp-encryption=tls"], TLS: ["--smtp-encryption=ssl"]}[way]
    if mechanism:
        words += [f"--smtp-user={USER}", f"--smtp-pass={PASSWORD}", f"--smtp-auth={mechanism}"]
    command([*words, write("0001.patch", "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n" + text)], "")


# program that must be there, what it sends with, mechanisms it knows
CLIENTS = [
    ("swaks", swaks, ["PLAIN", "LOGIN"]),
    ("msmtp", msmtp, ["PLAIN", "LOGIN", "SCRAM-SHA-256"]),
    ("curl", curl, ["PLAIN", "LOGIN"]),
    ("s-nail", s_nail, ["PLAIN", "LOGIN"]),
    ("mutt", mutt, ["PLAIN", "LOGIN"]),
    ("python3", python_smtplib, ["PLAIN", "LOGIN"]),
    ("perl", perl_net_smtp, ["PLAIN", "LOGIN"]),
    ("node", nodemailer, ["PLAIN", "LOGIN"]),
    ("git", git_send_email, ["PLAIN", "LOGIN"]),
]


def absent(program, send):
    if not shutil.which(program):
        return f"{program} is not installed"
    if send is nodemailer and not os.path.exists("/usr/share/nodejs/nodemailer"):
        return "node-nodemailer is not installed"
    if send is git_send_email and not (os.path.exists("/usr/lib/git-core/git-send-email") and
                                       command(["perl", "-e", "use Mail::Address; use Authen::SASL;"], ok=False).returncode == 0):
        return "git-email with Mail::Address and Authen::SASL is not installed"
    if send is perl_net_smtp and command(["perl", "-e", "use Net::SMTP; use Authen::SASL; use IO::Socket::SSL;"], ok=False).returncode:
        return "Authen::SASL or IO::Socket::SSL is not installed"
    return None


def test_of(program, send, mechanisms):
    def test(postern):
        why = absent(program, send)
        if why:
            return why
        add = [os.path.abspath(postern), "passwd", "--file", f"{files.name}/passwords", USER]
        subprocess.run(add, input=PASSWORD + "\n", text=True, check=True, capture_output=True, timeout=60)
        ways = [(CLEAR, None), (STARTTLS, None)] + [(way, m) for way in (STARTTLS, TLS) for m in mechanisms]
        with Postern(postern, extra=LOCAL, base=HEAD, certs=files.name) as p:
            for way, mechanism in ways:
                name = f"{way}-{(mechanism or 'nobody').lower()}"
                # without a user it is port 25, where STARTTLS is offered as well
                port = p.listeners[LISTENER[way] if mechanism else 0]
                send(port, way, mechanism, f"{name}@example.test", message(f"{name}@example.test", name))
                e = p.event(event="received", recipient=f"{name}@example.test")
                assert e.get("user") == (USER if mechanism else None), e
                assert e.get("mechanism") == mechanism, e
                [stored] = wait("the mailbox", lambda: p.mailbox(name))
                assert b"\n.\n..dots\nThe end.\n" in stored, stored
                secure = p.events(event="tls", session=e["session"])
                assert bool(secure) == (way != CLEAR), (way, secure)
        return None
    test.__name__ = send.__name__ + "_sends_in_every_way_it_knows"
    return test


if __name__ == "__main__":
    run([test_of(*row) for row in CLIENTS])
