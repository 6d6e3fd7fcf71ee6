"""What the checks of C sources share: which files there are, and a source without its comments and strings."""
import os
import re

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
PRODUCT = ("common", "proxy", "enroll")
TESTS = ("tests", "bench")
TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def files(folders):
    """Paths of all .c and .h below the folders, sorted."""
    return sorted(os.path.join(path, name) for folder in folders for path, _, names in os.walk(folder)
                  for name in names if name.endswith((".c", ".h")))


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def bare(text):
    """The text with comments and the insides of strings blanked; every line stays where it was."""
    def blank(match):
        kept = match[0][0] if match[0][0] in "\"'" else " "
        return kept + re.sub(r"[^\n]", " ", match[0][1:-1]) + kept
    return TOKEN.sub(blank, text)
