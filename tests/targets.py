#!/usr/bin/env python3
"""What ninja must build for some of the tests, one a line, and no more.

usage: tests/targets.py BUILD-DIRECTORY [--suite SUITE | --test NAME | --program PREFIX]...
  --suite    what the tests of that suite run
  --test     what the test of that name runs, as in "sim, story"
  --program  every program whose name begins so; for what is no test, such as the fuzzers
"""
import json
import os
import subprocess
import sys


def introspect(directory, what):
    return json.loads(subprocess.run(["meson", "introspect", directory, what], check=True, capture_output=True).stdout)


def main():
    directory, options = sys.argv[1], sys.argv[2:]
    if not options or len(options) % 2:
        sys.exit(__doc__)
    targets, tests = introspect(directory, "--targets"), introspect(directory, "--tests")
    wanted = set()
    for option, value in zip(options[::2], options[1::2]):
        if option == "--suite":
            found = [needed for test in tests if any(suite.split(":")[-1] == value for suite in test["suite"])
                     for needed in test["depends"]]
        elif option == "--test":
            found = [needed for test in tests if test["name"] == value for needed in test["depends"]]
        elif option == "--program":
            found = [target["id"] for target in targets
                     if target["type"] == "executable" and target["name"].startswith(value)]
        else:
            sys.exit(__doc__)
        if not found:
            sys.exit(f"{directory} has nothing of {option} {value}")
        wanted.update(found)
    for target in targets:
        if target["id"] in wanted:
            for file in target["filename"]:
                print(os.path.relpath(file, directory))


if __name__ == "__main__":
    main()
