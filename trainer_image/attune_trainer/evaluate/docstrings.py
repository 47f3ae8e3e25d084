"""Texts that are on every machine and have nothing to do with anybody's data: docstrings of Python's standard library.

First line → rest. The sources are parsed, never imported. Built when it is asked for; called by `evaluate.general`.
"""

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MODULES = (
    *("_pydecimal", "argparse", "ast", "asyncio/base_events", "asyncio/events", "asyncio/futures", "asyncio/locks"),
    *(
        "asyncio/tasks",
        "asyncio/transports",
        "base64",
        "bdb",
        "bz2",
        "calendar",
        "code",
        "codecs",
        "collections/__init__",
    ),
    *("concurrent/futures/_base", "configparser", "contextlib", "csv", "dataclasses", "datetime", "difflib", "dis"),
    *("doctest", "email/message", "enum", "fnmatch", "fractions", "ftplib", "functools", "gettext", "glob", "gzip"),
    *("hashlib", "heapq", "html/parser", "http/client", "http/cookiejar", "http/server", "imaplib", "inspect"),
    *("ipaddress", "json/__init__", "json/decoder", "json/encoder", "linecache", "locale", "logging/__init__"),
    *("logging/handlers", "lzma", "mailbox", "mimetypes", "numbers", "optparse", "os", "pathlib", "pdb", "pickle"),
    *("pkgutil", "platform", "poplib", "pprint", "profile", "queue", "random", "sched", "secrets", "selectors"),
    *("shelve", "shutil", "smtplib", "socket", "socketserver", "ssl", "statistics", "string", "subprocess", "tarfile"),
    *("tempfile", "textwrap", "threading", "timeit", "tokenize", "traceback", "turtle", "types", "typing"),
    *("unittest/case", "unittest/mock", "urllib/parse", "urllib/request", "uuid", "warnings", "wave", "weakref"),
    *("xml/dom/minidom", "xml/etree/ElementTree", "xmlrpc/client", "xmlrpc/server", "zipfile"),
)
"""A fixed list: one that followed what is installed would be another set on every machine."""
MIN_QUESTION_WORDS, MIN_CHARACTERS = 4, 80


def pairs() -> list[tuple[str, str]]:
    """(first line, rest) of every docstring that has both, in a fixed order; a first line that is met twice is used once.

    Empty where Python was installed without its sources.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, str] = {}
    for module in MODULES:
        for question, answer in _of_module(root / f"{module}.py"):
            found.setdefault(question, answer)
    return sorted(found.items())


def _of_module(path: Path) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        first, _, rest = (ast.get_docstring(node) or "").partition("\n")
        question, answer = first.strip(), " ".join(rest.split())
        if len(question.split()) >= MIN_QUESTION_WORDS and len(answer) >= MIN_CHARACTERS:
            yield question, answer
