#!/usr/bin/env python3
"""What lies in deploy/ fits the program that is built: its example is accepted, its manual and its dashboards name only
what exists.

usage: deploy.py SLUICE SOURCE-ROOT [unittest's options]
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sluice = root = None


def read(name):
    return (root / name).read_text()


def run(*words):
    """The real program, in no directory and no environment that could hold another configuration."""
    return subprocess.run([sluice, *words], capture_output=True, text=True, cwd="/", timeout=60,
                          env={k: v for k, v in os.environ.items() if k != "SLUICE_CONFIG"})


def long_options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


class Deploy(unittest.TestCase):
    def test_example_configuration_is_good(self):
        example = str(root / "deploy/sluice.conf")
        result = run("config", "-c", example, "--check")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("Sanitizer", result.stderr)

    def read_data(self, names, more=""):
        """A configuration that includes these files, as they lie there: read, and shown with all that it comes to.
        (--check would ask for the secrets too.)"""
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("pool p { source 127.0.0.1 { ehlo = m.example } }\n" + more)
            file.write("".join(f'include += "{name}"\n' for name in names))
            file.flush()
            return run("config", "-c", file.name, "--print")

    def test_provider_data_is_good_alone_and_together(self):
        isps = sorted((root / "deploy/isp").glob("*.conf"))
        relays = sorted((root / "deploy/isp/relay").glob("*.conf"))
        self.assertGreaterEqual(len(isps), 10)
        self.assertGreaterEqual(len(relays), 5)
        for names in [[name] for name in isps + relays] + [[root / "deploy/isp/*.conf"], isps + relays]:
            result = self.read_data(names)
            self.assertEqual(result.returncode, 0, result.stderr)
        together = self.read_data(isps + relays, "route { relay = ses }\n")
        count = sum(len(re.findall(r"^isp ", name.read_text(), re.M)) for name in isps)
        self.assertEqual(len(re.findall(r"^isp ", together.stdout, re.M)), count)

    def test_provider_data_says_where_it_is_from(self):
        for name in [*(root / "deploy/isp").glob("*.conf"), *(root / "deploy/isp/relay").glob("*.conf")]:
            for line in name.read_text().splitlines():
                if re.search(r"\b(mx|connections|per_connection|rate|tls) =", line):
                    self.assertRegex(line, r"# .*(20\d\d|chosen|kumomta|momentum|sisimai|\.\w+|same)", name)

    def test_each_rule_says_where_it_is_from(self):
        """In the providers' files each, on its first line; the general phrases are ours, and the file says so once."""
        named = set()
        for name in sorted((root / "deploy/isp").glob("*.conf")):
            text = name.read_text()
            for line in re.findall(r"^ *rule .*$", text, re.M):
                rule = re.match(r" *rule ([a-z0-9.-]+) \{", line)
                self.assertTrue(rule, line)
                self.assertNotIn(rule[1], named)
                named.add(rule[1])
                if name.name != "general.conf":
                    self.assertRegex(line, r"\{  # .*(chosen|20\d\d|kumomta|momentum|sisimai|\w\.\w)", name)
        self.assertGreater(len(named), 200)
        self.assertIn("The phrases were written for Sluice", " ".join(read("deploy/isp/general.conf").split("\n# ")))

    def test_manual_names_each_option_and_no_other(self):
        manual = read("deploy/sluice.1").replace("\\-", "-")
        sections = dict(re.findall(r'\n\.SS "sluice (\w+)([\s\S]*?)(?=\n\.SS|\n\.SH)', manual))
        commands = re.findall(r"^  ([a-z]+)  +\w", run("--help").stdout, re.M)
        self.assertGreaterEqual(len(commands), 8)
        self.assertEqual(sorted(sections), sorted(commands))
        for command, section in sections.items():
            said = run(command, "--help").stdout
            # Each command takes --config and --help; the manual tells so once. What the text only mentions belongs to
            # no command: man(1) in the help of config, say.
            common = {"--config", "--help"}
            self.assertEqual(long_options(section) - common, long_options(said) - common, command)

    def exported(self):
        """Families in metrics.c, with what Prometheus makes of histograms."""
        text = read("engine/control/metrics.c") + read("engine/control/relays.c")
        names = set(re.findall(r'"(sluice_\w+)', text)) | set(re.findall(r"# TYPE (sluice_\w+)", text))
        return names | {n + end for n in names for end in ("_bucket", "_sum", "_count")}

    def labels(self):
        """Values that a label has, by the family's name and the label's."""
        found = {}
        for family, label, value in re.findall(r'"(sluice_\w+)", "(\w+)=\\"(\w+)\\""', read("engine/control/metrics.c")):
            found.setdefault((family, label), set()).add(value)
        return found

    def check_queries(self, text):
        used = set(re.findall(r"\bsluice_\w+", text))
        self.assertGreater(len(used), 5)
        self.assertEqual(used - self.exported(), set())
        labels = self.labels()
        for family, selector in re.findall(r"(sluice_\w+)\{([^}]*)\}", text):
            for label, values in re.findall(r'(\w+)!?=~?"([^"]*)"', selector):
                if label != "instance":
                    self.assertLessEqual(set(values.split("|")), labels[family, label], family)

    def test_alerts_ask_for_metrics_that_exist(self):
        self.check_queries("\n".join(re.findall(r"expr: *(\|\n(?: {10,}.*\n)+|.*)", read("deploy/alerts.yaml"))))

    def test_dashboard_asks_for_metrics_that_exist(self):
        panels = [p for p in json.loads(read("deploy/dashboard.json"))["panels"] if p["type"] != "row"]
        self.check_queries("\n".join(t["expr"] for p in panels for t in p["targets"]))
        self.assertEqual(len({p["id"] for p in panels}), len(panels))
        for panel in panels:
            self.assertTrue(panel["description"], panel["title"])

    def test_seccomp_profile_allows_io_uring_and_refuses_by_default(self):
        profile = json.loads(read("deploy/seccomp.json"))
        allowed = [n for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for n in rule["names"]]
        self.assertEqual(profile["defaultAction"], "SCMP_ACT_ERRNO")
        for name in ("io_uring_setup", "io_uring_enter", "io_uring_register", "execve", "clone", "socket"):
            self.assertIn(name, allowed)
        for name in ("mount", "ptrace", "unshare", "setns", "bpf", "init_module", "keyctl", "perf_event_open"):
            self.assertNotIn(name, allowed)

    def test_package_lists_name_each_package_once(self):
        for name in ("deploy/packages", "deploy/packages-run", "tests/packages"):
            packages = [line.split("#")[0].strip() for line in read(name).splitlines()]
            packages = [p for p in packages if p]
            self.assertEqual(len(packages), len(set(packages)), name)


if __name__ == "__main__":
    sluice, root = os.path.abspath(sys.argv.pop(1)), pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
