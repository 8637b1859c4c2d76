"""Small servers that a scenario needs: a name server with a made-up zone, and hosts that take mail."""
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
