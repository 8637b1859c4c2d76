"""Small servers that a scenario needs: a name server with a made-up zone, and hosts that take mail."""
import base64
import socket
import socketserver
import struct
import threading

TYPES = {"A": 1, "SOA": 6, "MX": 15, "AAAA": 28}


def _name(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".") if x) + b"\0"


class Dns:
    """Answers over UDP from {(name, type): [data]}, authoritative for `zone`.

    MX data are (preference, name); an entry "SERVFAIL" or "SILENCE" is what it says. A name without
    any entry does not exist.
    """

    def __init__(self, zone, records):
        self.zone, self.records = zone, records
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def close(self):
        # A datagram to itself wakes the thread.
        self.records = None
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("127.0.0.1", self.port))
        self.thread.join()
        self.socket.close()

    def serve(self):
        while True:
            query, peer = self.socket.recvfrom(4096)
            if self.records is None:
                return
            answer = self.answer(query) if len(query) > 12 else None
            if answer:
                self.socket.sendto(answer, peer)

    def answer(self, query):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        qtype = struct.unpack("!H", query[at + 1:at + 3])[0]
        question = query[12:at + 5]
        name = ".".join(labels)
        self.asked.append((name, qtype))
        kind = next((k for k, v in TYPES.items() if v == qtype), None)
        data = self.records.get((name, kind), [])
        if data == "SILENCE":
            return None
        exists = any(n == name or n.endswith("." + name) for n, _ in self.records) or name == self.zone
        rcode = 2 if data == "SERVFAIL" else 0 if exists else 3
        body = b""
        if rcode == 0:
            for d in data:
                if kind == "MX":
                    rdata = struct.pack("!H", d[0]) + _name(d[1])
                else:
                    rdata = socket.inet_pton(socket.AF_INET6 if kind == "AAAA" else socket.AF_INET, d)
                body += b"\xc0\x0c" + struct.pack("!HHIH", qtype, 1, 1, len(rdata)) + rdata
        count = len(data) if rcode == 0 else 0
        authority = b""
        if rcode != 2 and not count:
            rdata = _name("ns." + self.zone) + _name("admin." + self.zone) + struct.pack("!5I", 1, 1, 1, 1, 1)
            authority = _name(self.zone) + struct.pack("!HHIH", 6, 1, 1, len(rdata)) + rdata
        return query[:2] + struct.pack("!HHHHH", 0x8400 | rcode, 1, count, 1 if authority else 0, 0) + question + body + authority


class Host:
    """Takes mail on an address of loopback; counts what came."""

    def __init__(self, address, port=0):
        self.messages = []
        host = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.wfile.write(b"220 host.test ESMTP\r\n")
                in_data = False
                for line in self.rfile:
                    if in_data:
                        if line == b".\r\n":
                            in_data = False
                            host.messages.append(1)
                            self.wfile.write(b"250 2.0.0 taken\r\n")
                        continue
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        in_data = True
                        self.wfile.write(b"354 go\r\n")
                    elif verb == b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    else:
                        self.wfile.write(b"250 ok\r\n")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        self.server = Server((address, port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Session:
    """One connection to an Mta, as it was."""

    def __init__(self, peer):
        self.peer, self.commands, self.tls, self.user, self.greeted = peer, [], False, None, None
        self.over = False


class Mta:
    """A host that speaks SMTP or LMTP as it is told, and remembers all of it.

    ehlo: keywords, `tls_ehlo` those after the handshake (as `ehlo` without STARTTLS when not said); context: for
    STARTTLS, or from the first octet on (implicit); users: {name: password} for AUTH; answers: {verb: octets, or a
    function of (session, line) that gives octets or None} instead of the usual ones; octets that are None close.
    An answer to "." or "BDAT" may be a list for LMTP: one for each recipient that was accepted.
    """

    def __init__(self, ehlo=("PIPELINING", "SIZE 1000000", "8BITMIME"), tls_ehlo=None, context=None, implicit=False,
                 users=None, answers=None, lmtp=False, path=None, address="127.0.0.1", port=0):
        self.ehlo, self.tls_ehlo, self.context, self.implicit = list(ehlo), tls_ehlo, context, implicit
        self.users, self.answers, self.lmtp = users or {}, answers or {}, lmtp
        self.sessions, self.messages = [], []
        self.sockets = set()
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(path)
        else:
            self.socket = socket.create_server((address, port))
            self.port = self.socket.getsockname()[1]
        self.socket.listen(50)
        self.closing = False
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closing = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.drop()
        self.thread.join()

    def drop(self):
        """End every connection, without a word."""
        for s in list(self.sockets):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve(self):
        while not self.closing:
            try:
                s, peer = self.socket.accept()
            except OSError:
                return
            session = Session(peer)
            self.sessions.append(session)
            threading.Thread(target=self.run, args=(s, session), daemon=True).start()

    def run(self, s, session):
        talk = None
        try:
            s.settimeout(30)
            self.sockets.add(s)
            if self.implicit:
                s = self.shake(s, session)
            talk = _Talk(self, s, session)
            talk.all()
        except (OSError, EOFError):
            pass
        finally:
            session.over = True
            last = talk.socket if talk else s
            self.sockets.discard(last)
            last.close()

    def shake(self, s, session):
        self.sockets.discard(s)
        try:
            s = self.context.wrap_socket(s, server_side=True)
        except OSError:
            s.close()
            raise
        session.tls = True
        self.sockets.add(s)
        return s


class _Talk:
    def __init__(self, mta, s, session):
        self.mta, self.socket, self.session, self.buffer = mta, s, session, b""
        self.reset()

    def reset(self):
        self.mail, self.rcpts, self.data, self.chunks = None, [], b"", []

    def fill(self):
        more = self.socket.recv(65536)
        if not more:
            raise EOFError
        self.buffer += more

    def line(self):
        while b"\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r").decode("utf-8", "surrogateescape")

    def octets(self, n):
        while len(self.buffer) < n:
            self.fill()
        octets, self.buffer = self.buffer[:n], self.buffer[n:]
        return octets

    def say(self, answer):
        if answer is None:
            raise EOFError
        self.socket.sendall(answer)

    def answer(self, verb, line, usual):
        a = self.mta.answers.get(verb)
        if callable(a):
            a = a(self.session, line)
            return usual if a is None else a
        if verb in self.mta.answers:
            return a
        return usual

    def keywords(self):
        if self.session.tls:
            if self.mta.tls_ehlo is not None:
                return self.mta.tls_ehlo
            return [k for k in self.mta.ehlo if k != "STARTTLS"]
        return self.mta.ehlo

    def all(self):
        self.say(self.answer("banner", "", b"220 mta.test ready\r\n"))
        while True:
            line = self.line()
            self.session.commands.append(line)
            verb = line.split(" ")[0].upper()
            if not self.command(verb, line):
                return

    def command(self, verb, line):
        if verb in ("EHLO", "LHLO"):
            words = ["mta.test"] + list(self.keywords())
            usual = b"".join(f"250{'-' if i + 1 < len(words) else ' '}{w}\r\n".encode() for i, w in enumerate(words))
            self.session.greeted = line.split(" ", 1)[1]
            self.say(self.answer(verb, line, usual if (verb == "LHLO") == self.mta.lmtp else b"500 what?\r\n"))
        elif verb == "STARTTLS":
            a = self.answer(verb, line, b"220 2.0.0 go\r\n")
            self.say(a)
            if a.startswith(b"220") and self.mta.context:
                self.socket = self.mta.shake(self.socket, self.session)
                self.buffer = b""
        elif verb == "AUTH":
            self.auth(line)
        elif verb == "MAIL":
            self.reset()
            self.mail = line
            self.say(self.answer(verb, line, b"250 2.1.0 ok\r\n"))
        elif verb == "RCPT":
            a = self.answer(verb, line, b"250 2.1.5 ok\r\n")
            if a and a.startswith(b"2"):
                self.rcpts.append(line)
            self.say(a)
        elif verb == "DATA":
            a = self.answer(verb, line, b"354 go\r\n" if self.rcpts else b"503 5.5.1 no recipients\r\n")
            self.say(a)
            if a.startswith(b"354"):
                while True:
                    l = self.raw_line()
                    if l == b".\r\n":
                        break
                    self.data += l[1:] if l.startswith(b".") else l
                self.end(".")
        elif verb == "BDAT":
            words = line.split()
            self.chunks.append(int(words[1]))
            self.data += self.octets(int(words[1]))
            if words[-1] == "LAST":
                self.end("BDAT")
            else:
                self.say(self.answer("BDAT", line, b"250 2.0.0 more\r\n"))
        elif verb == "RSET":
            self.reset()
            self.say(b"250 2.0.0 ok\r\n")
        elif verb == "QUIT":
            self.say(self.answer(verb, line, b"221 2.0.0 bye\r\n"))
            return False
        else:
            self.say(self.answer(verb, line, b"500 5.5.2 what?\r\n"))
        return True

    def raw_line(self):
        while b"\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def end(self, verb):
        a = self.answer(verb, self.session.commands[-1], b"250 2.0.0 taken\r\n")
        answers = a if isinstance(a, list) else [a] * (len(self.rcpts) if self.mta.lmtp else 1)
        if any(x and x.startswith(b"2") for x in answers):
            self.mta.messages.append({"mail": self.mail, "rcpts": self.rcpts, "data": self.data, "chunks": self.chunks,
                                      "tls": self.session.tls, "user": self.session.user, "session": self.session})
        for x in answers:
            self.say(x)
        self.reset()

    def auth(self, line):
        words = line.split(" ")
        a = self.answer("AUTH", line, b"")
        if a:
            self.say(a)
            return
        if words[1].upper() == "PLAIN":
            if len(words) < 3:
                self.say(b"334 \r\n")
            name, password = base64.b64decode(words[2] if len(words) > 2 else self.line()).split(b"\0")[1:]
        else:
            self.say(b"334 VXNlcm5hbWU6\r\n")
            name = base64.b64decode(self.line())
            self.say(b"334 UGFzc3dvcmQ6\r\n")
            password = base64.b64decode(self.line())
        if self.mta.users.get(name.decode()) == password.decode():
            self.session.user = name.decode()
            self.say(b"235 2.7.0 welcome\r\n")
        else:
            self.say(b"535 5.7.8 wrong\r\n")
