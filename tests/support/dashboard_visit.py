"""Somebody at the dashboard, in a window of their own: signs in, goes somewhere, reads, presses. What the page complains of
fails the test."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

SECONDS = 60
"""For anything to come: the machine may be busy."""
QUIET = re.compile(r"^Failed to load resource: ")
"""What Chromium says of answers that are no 2xx, and of none: the page tells of them itself."""

expect.set_options(timeout=1000 * SECONDS)


class Visit:
    """`page` is Playwright's; `requests` has all that was asked for, `complaints` what went wrong in the page."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self._context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context})
        self._context.set_default_timeout(1000 * SECONDS)
        self.page: Page = self._context.new_page()
        self.page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108  no method of a list
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def __enter__(self) -> Self:
        self.page.goto(self.url)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._context.close()
        if kind is None:
            assert self.complaints == []

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not QUIET.match(message.text):
            self.complaints.append(message.text)

    # ---- in

    def sign_in(self, token: str, *, namespace: str = "", keep: bool = False) -> None:
        """Until something else than the form is there."""
        self.try_token(token, namespace=namespace, keep=keep)
        expect(self.page.get_by_label("Bearer token")).to_be_hidden()

    def try_token(self, token: str, *, namespace: str = "", keep: bool = False) -> None:
        self.page.get_by_label("Bearer token").fill(token)
        if namespace:
            self.page.get_by_label("Namespace", exact=True).fill(namespace)
        self.page.get_by_label("Keep the token until this tab is closed").set_checked(keep)
        self.button("Sign in").click()

    def go(self, place: str) -> None:
        """An address below the namespace `team`."""
        self.page.goto(f"{self.url}/#/team/{place}")
        expect(self.page.locator(".loading")).to_have_count(0)

    # ---- what is there

    @property
    def main(self) -> Locator:
        return self.page.get_by_role("main")

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    @property
    def activity(self) -> Locator:
        """What was asked for, and what becomes of it."""
        return self.page.locator("#activity")

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name, exact=isinstance(name, str))

    def panel(self, name: str) -> Locator:
        return self.page.get_by_role("region", name=name, exact=True)

    def row(self, text: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=text)

    def heading(self, name: str) -> Locator:
        return self.page.get_by_role("heading", level=1, name=name, exact=True)

    def focused(self) -> str:
        """Its label or text."""
        script = "() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
        return str(self.page.evaluate(script))

    def overflow(self) -> int:
        """Pixels that the page is wider than the window."""
        return int(self.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth"))

    def asked(self, method: str, path: str) -> list[Request]:
        """What the page sent there."""
        return [one for one in self.requests if one.method == method and path in one.url]
