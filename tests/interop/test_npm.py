#!/usr/bin/python3
"""npm's smtp-server as next hop: credentials under STARTTLS, addresses beyond ASCII, its own words of refusal."""
import json
import os
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "scenario"))
from certificates import Authority  # noqa: E402
from harness import LOCAL, QUICK, Postern, run, wait  # noqa: E402

SCRIPT = """
const { SMTPServer } = require('smtp-server'); const fs = require('fs'); const [cert, key] = process.argv.slice(2);
const say = o => console.log(JSON.stringify(o));
const server = new SMTPServer({ name: 'node.test', cert: fs.readFileSync(cert), key: fs.readFileSync(key), authMethods: ['PLAIN', 'LOGIN'],
  onAuth: (auth, session, done) => auth.password === 'very secret' ? done(null, { user: auth.username }) : done(new Error('no such user')),
  onRcptTo: (address, session, done) => {
    if (address.address.startsWith('full')) { const e = new Error('5.2.2 mailbox is full'); e.responseCode = 552; return done(e); }
    done();
  },
  onData: (stream, session, done) => {
    const parts = []; stream.on('data', d => parts.push(d));
    stream.on('end', () => { say({ user: session.user, secure: session.secure, from: session.envelope.mailFrom.address,
      to: session.envelope.rcptTo.map(r => r.address), body: Buffer.concat(parts).toString('latin1') }); done(null, 'taken'); });
  } });
server.on('error', () => {});
server.listen(0, '127.0.0.1', () => say({ port: server.server.address().port }));
"""
BODY = b"Subject: x\r\nFrom: you@example.test\r\n\r\nhello\r\n.\r\n..dots\r\n"


class Node:
    def __init__(self, modules, directory):
        self.certs = Authority(directory).make("mx", "localhost").directory
        with open(f"{directory}/server.js", "w", encoding="utf-8") as f:
            f.write(SCRIPT)
        self.said = []
        self.process = subprocess.Popen(["node", f"{directory}/server.js", f"{directory}/mx.pem", f"{directory}/mx.key"], text=True,
                                        stdout=subprocess.PIPE, env={**os.environ, "NODE_PATH": modules + "/node_modules"})
        self.port = json.loads(self.process.stdout.readline())["port"]
        self.lines = threading.Thread(target=self.read, daemon=True)
        self.lines.start()

    def read(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.lines.join()
        self.process.stdout.close()


def it_takes_mail_for_a_password_and_its_refusals_are_understood(program):
    r = subprocess.run([os.path.join(HERE, "..", "..", "script", "unpack-npm")], capture_output=True, text=True, timeout=300)
    if r.returncode:
        return r.stderr.strip() or "smtp-server could not be had"
    with tempfile.TemporaryDirectory(prefix="postern-npm-") as d, Node(r.stdout.strip(), d) as node:
        secret = d + "/secret"
        for password, event in (("wrong", "deferred"), ("very secret", "delivered")):
            with open(secret, "w", encoding="utf-8") as f:
                f.write(password + "\n")
            os.chmod(secret, 0o600)
            config = LOCAL + QUICK + ('tls: {{ca_file: "{certs}/ca.pem"}}\nrelay_host: {{to: "127.0.0.1:{port}", tls_names: [localhost], '
                                      'auth: {{user: me, password_file: "{secret}"}}}}\n')
            with Postern(program, config, certs=node.certs, port=node.port, secret=secret) as p:
                p.send("bob@far.test", body=BODY)
                e = p.event(event=event, recipient="bob@far.test")
                if event == "deferred":
                    assert e["code"] == 535 and e["failure_code"] == 3004, e
                    continue
                assert e["code"] == 250 and "TLSv1.3" in e["tls"], e
                got = wait("the message", lambda: node.said)[0]
                assert (got["user"], got["secure"], got["to"]) == ("me", True, ["bob@far.test"]), got
                assert got["body"].endswith("\r\n\r\nhello\r\n.\r\n..dots\r\n"), got
                p.send("full@far.test", body=BODY)
                e = p.event(event="failed", recipient="full@far.test")
                assert e["code"] == 552 and e["failure_code"] in (3001, 1004), e
                with p.smtp() as s:
                    s.ehlo("client.test")
                    s.command_encoding = "utf-8"
                    s.sendmail("you@example.test", ["käthe@far.test"], BODY, ["SMTPUTF8"])
                e = wait("its end", lambda: [e for e in p.events(recipient="käthe@far.test") if e["event"] in ("delivered", "failed")])[0]
                assert e["event"] == "delivered", e
                assert node.said[-1]["to"] == ["käthe@far.test"], node.said[-1]


if __name__ == "__main__":
    run([it_takes_mail_for_a_password_and_its_refusals_are_understood])
