"""signed.py - a world with DNSSEC and HTTPS on loopback, for house.py: nsd serves zones that ldns-signzone signed, unbound
validates them, and a policy host serves MTA-STS files with certificates of a CA of the test's own.

The zones are `safe.` (signed, and the trust anchor of unbound), `plain.` (not signed) and `torn.` (signed by a key that
is not the one that unbound was told of, so that nothing in it validates). In `safe.`, records that `forge` names are
changed behind their signature.
"""
import http.server
import os
import re
import ssl
import subprocess
import threading

from contract import wait_until
from house import Server, find_program, free_port


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


class Names:
    """nsd and unbound. `house` gets unbound's port as its dns_port."""

    def __init__(self, house, safe="", plain="", torn="", forge=()):
        self.house, self.directory = house, house.path("names")
        os.mkdir(self.directory)
        self.nsd_port = free_port()
        key = self.zone("safe", safe, forge)
        self.zone("torn", torn)
        self.zone("plain", plain, signed=False)
        self.serve([key, self.stranger("torn")])

    def path(self, name):
        return os.path.join(self.directory, name)

    def key(self, zone, *options):
        return run(find_program("ldns-keygen"), "-a", "ECDSAP256SHA256", *options, zone, cwd=self.directory).strip()

    def stranger(self, zone):
        """The DNSKEY of a key that signs nothing."""
        with open(self.path(self.key(zone, "-k") + ".key")) as file:
            return file.read().split(";")[0].strip()

    def zone(self, zone, records, forge=(), signed=True):
        """Writes the zone; returns the DNSKEY that signed it."""
        path = self.path(zone + ".zone")
        with open(path, "w") as file:
            file.write(f"$ORIGIN {zone}.\n$TTL 5\n@ IN SOA ns.{zone}. admin.{zone}. 1 3600 600 86400 5\n"
                       f"@ IN NS ns\nns IN A 127.0.0.1\n{records}\n")
        if not signed:
            return None
        key = self.key(zone, "-k")
        run(find_program("ldns-signzone"), "-f", path + ".signed", path, key, cwd=self.directory)
        with open(path + ".signed") as file:
            text = file.read()
        for name in forge:  # the last octet of the record's data
            text, n = re.subn(rf"(?m)^({re.escape(name)}\.\s.*\sTLSA\s.*)([0-9a-f])$",
                              lambda m: m[1] + ("0" if m[2] != "0" else "1"), text)
            assert n == 1, (name, text)
        with open(path, "w") as file:
            file.write(text)
        with open(self.path(key + ".key")) as file:
            return file.read().split(";")[0].strip()

    def serve(self, anchors):
        d, port, zones = self.directory, self.nsd_port, ("safe", "plain", "torn")
        self.nsd = self.house.nsd(d, port, {zone: zone + ".zone" for zone in zones})
        quoted = "".join(f"  trust-anchor: '{anchor}'\n" for anchor in anchors)
        stubs = "".join(f"stub-zone:\n  name: {zone}\n  stub-addr: 127.0.0.1@{port}\n" for zone in zones)
        with open(self.path("unbound.conf"), "w") as file:
            file.write(f"""server:
  interface: 127.0.0.1@{self.house.dns_port}
  do-not-query-localhost: no
  do-ip6: no
  chroot: ""
  username: ""
  directory: "{d}"
  pidfile: "{d}/unbound.pid"
  use-syslog: no
  do-daemonize: no
  module-config: "validator iterator"
  cache-max-negative-ttl: 1
  cache-max-ttl: 2
  val-bogus-ttl: 1
{quoted}{stubs}remote-control:
  control-enable: no
""")
        self.unbound = self.house.start(Server(self.house, "unbound", [find_program("unbound"), "-d", "-c",
                                                                       self.path("unbound.conf")]))
        wait_until(lambda: self.house._dns_answers(self.unbound), "an answer of unbound")


class Authority:
    """A CA made by the openssl command, and certificates of it."""

    def __init__(self, house, name="authority"):
        self.directory = house.path(name)
        os.mkdir(self.directory)
        self.file = self.path("ca.pem")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                     "30", "-subj", f"/CN={name}", "-keyout", self.path("ca.key"), "-out", self.file)

    def path(self, name):
        return os.path.join(self.directory, name)

    def openssl(self, *arguments):
        return run(find_program("openssl"), *arguments)

    def certificate(self, *names, days=30):
        """Files of a certificate for these names, with its key behind it."""
        stem = self.path(names[0])
        with open(stem + ".ext", "w") as file:
            file.write("subjectAltName = " + ", ".join("DNS:" + name for name in names) + "\n")
        self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                     f"/CN={names[0]}", "-keyout", stem + ".key", "-out", stem + ".csr")
        self.openssl("x509", "-req", "-in", stem + ".csr", "-CA", self.file, "-CAkey", self.path("ca.key"),
                     "-CAcreateserial", "-days", str(days), "-extfile", stem + ".ext", "-out", stem + ".crt")
        with open(stem + ".pem", "w") as out:
            for part in (".crt", ".key"):
                with open(stem + part) as file:
                    out.write(file.read())
        return stem + ".pem"


class PolicyHost:
    """https://mta-sts.DOMAIN/.well-known/mta-sts.txt for many domains, each as `serve` says, on 127.30.0.1."""

    address = "127.30.0.1"

    def __init__(self, certificate):
        self.port, self.domains, self.asked = free_port(), {}, []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.headers["Host"].split(":")[0]
                owner.asked.append((name, self.path))
                status, headers, body = owner.domains.get(name, (404, {}, b""))
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.server = http.server.ThreadingHTTPServer((self.address, self.port), Handler)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True,
                                                      do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def serve(self, domain, policy, status=200, content_type="text/plain", **headers):
        body = policy if isinstance(policy, bytes) else policy.encode()
        self.domains["mta-sts." + domain] = (status, {"Content-Type": content_type, **headers}, body)

    def count(self, domain):
        return sum(name == "mta-sts." + domain for name, _ in self.asked)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
