"""postfix.py - a Postfix of Debian's for house.py: all that a private instance has lies in one directory of the house."""
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess

from contract import wait_until
from house import Server, find_program

ACCESS = """
gone@big.example 550 5.1.1 no such user here
full@big.example 452 4.2.2 mailbox full
listed@big.example 554 5.7.1 you are listed
"""
ADDED = re.compile(rb"\A(?:(?:Return-Path|X-Original-To|Delivered-To|Received):[^\n]*\n(?:[ \t][^\n]*\n)*)+")


class Postfix(Server):
    """It takes all mail for `domains` into one maildir. `listen` has the addresses, and what main.cf would say otherwise
    for each of them; `settings` are more lines of main.cf, ETC for their directory."""

    last_signal = signal.SIGTERM  # its daemons end with it

    def __init__(self, at, port, listen=None, domains=("big.example",), settings=""):
        directory = at.path("postfix")
        self.etc, self.mail = os.path.join(directory, "etc"), os.path.join(directory, "mail")
        nobody = pwd.getpwnam("nobody").pw_uid
        for name in ("", "etc", "queue", "data", "mail"):
            os.mkdir(os.path.join(directory, name), 0o755)
        shutil.chown(os.path.join(directory, "data"), "postfix")
        os.chown(self.mail, nobody, -1)
        self.write("access", ACCESS)
        self.write("headers", "/^Subject: .*forbidden/ REJECT 5.7.1 not this subject\n")
        self.write("main.cf", f"""
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.big.example
mydestination =
mynetworks =
inet_interfaces = all
inet_protocols = ipv4
alias_maps =
alias_database =
virtual_mailbox_domains = {' '.join(domains)}
virtual_mailbox_base = {self.mail}
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nobody}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access texthash:{self.etc}/access
header_checks = regexp:{self.etc}/headers
smtpd_tls_security_level = none
smtputf8_enable = yes
smtpd_peername_lookup = no
local_header_rewrite_clients =
in_flow_delay = 0
maillog_file_prefixes = {directory}
maillog_file = {directory}/maillog
{settings.replace('ETC', self.etc)}
""")
        services = "\n".join(f"{name} unix {private} - n - {limit} {program}" for name, private, limit, program in (
            ("cleanup", "n", 0, "cleanup"), ("flush", "n", 0, "flush"), ("showq", "n", "-", "showq"),
            ("rewrite", "-", "-", "trivial-rewrite"), ("bounce", "-", 0, "bounce"), ("defer", "-", 0, "bounce"),
            ("trace", "-", 0, "bounce"), ("verify", "-", 1, "verify"), ("proxymap", "-", "-", "proxymap"),
            ("error", "-", "-", "error"), ("retry", "-", "-", "error"), ("anvil", "-", 1, "anvil"),
            ("scache", "-", 1, "scache"), ("smtp", "-", "-", "smtp")))
        listen = listen or {"127.20.1.1": ""}
        smtpd = "\n".join(f"{address}:{port} inet n - n - - smtpd {options}" for address, options in listen.items())
        self.write("master.cf", f"""
{smtpd}
tlsmgr unix - - n 1000? 1 tlsmgr
qmgr unix n - n 300 1 qmgr
pickup unix n - n 60 1 pickup
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
{services}
""")
        super().__init__(at, "postfix-out", ["/usr/lib/postfix/sbin/master", "-c", self.etc, "-s"])
        self.address, self.maillog = (next(iter(listen)), port), os.path.join(directory, "maillog")

    def write(self, name, text):
        with open(os.path.join(self.etc, name), "w") as file:
            file.write(text)

    def start(self):
        subprocess.run([find_program("postfix"), "-c", self.etc, "check"], check=True)  # makes the queue's rooms
        super().start()
        wait_until(self.greets, "Postfix's greeting")
        return self

    def greets(self):
        assert self.running(), "Postfix ended: " + self.read_log()
        try:
            with socket.create_connection(self.address, timeout=1) as s:
                return s.recv(100).startswith(b"220 ")
        except OSError:
            return False

    def read_log(self):
        text = super().read_log()
        if os.path.exists(self.maillog):
            with open(self.maillog, errors="replace") as file:
                text += file.read()
        return text

    def arrived(self):
        """The files of what has arrived."""
        new = os.path.join(self.mail, "inbox", "new")
        return [os.path.join(new, name) for name in os.listdir(new)] if os.path.isdir(new) else []

    def messages(self, campaign):
        """What has arrived of a campaign, without the fields that Postfix puts in front, as {seq: bytes}; lines end in LF
        there."""
        arrived = {}
        for path in self.arrived():
            with open(path, "rb") as file:
                bare = ADDED.sub(b"", file.read())
            name, seq = re.search(rb"(?m)^X-Campaign: (\S+)/(\d+)$", bare).groups()
            if name.decode() == campaign:
                assert int(seq) not in arrived, f"{campaign}/{int(seq)} arrived twice"
                arrived[int(seq)] = bare
        return arrived
