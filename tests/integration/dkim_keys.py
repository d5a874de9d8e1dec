"""dkim_keys.py - keys that sign, and the records that are published for them."""
import base64
import os
import subprocess


def make_key(directory, name, kind="rsa:2048"):
    """A new private key in PEM and its record: (file, record). kind: rsa:BITS or ed25519."""
    path = os.path.join(directory, name + ".pem")
    openssl = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True).stdout
    old_mask = os.umask(0o077)
    try:
        if kind == "ed25519":
            openssl("genpkey", "-algorithm", "ed25519", "-out", path)
        else:
            openssl("genrsa", "-out", path, kind.partition(":")[2])
    finally:
        os.umask(old_mask)
    public = openssl("pkey", "-in", path, "-pubout", "-outform", "DER")
    if kind == "ed25519":
        public = public[-32:]  # RFC 8463 4.2: the key alone
    return path, f"v=DKIM1; k={kind.partition(':')[0]}; p={base64.b64encode(public).decode()}"


def zone_line(name, record):
    """The record for a zone file: strings of at most 255 octets (RFC 1035 3.3)."""
    return f"{name}. IN TXT " + " ".join(f'"{record[i:i + 200]}"' for i in range(0, len(record), 200))
