"""How a page of a file lies on screens of several widths, as Chromium lays it out."""

from __future__ import annotations

from pathlib import Path

from chromium import browser

WIDTHS = (1280, 900, 720, 390)
FAULTS = """() => {
  const found = [];
  if (document.documentElement.scrollWidth > window.innerWidth) found.push("the page is wider than the screen");
  for (const value of document.querySelectorAll("dd")) {
    const share = value.clientWidth / value.parentElement.clientWidth;
    if (value.textContent.trim() && share < 0.3) found.push(`${value.previousElementSibling.textContent}: ${share.toFixed(2)} of its list`);
  }
  return found;
}"""


def layout_faults(page: Path) -> list[str]:
    """What lies badly, by width: a page that is scrolled sideways, a value that its label leaves less than three tenths of the list."""
    with browser() as opened:
        shown = opened.new_page()
        shown.goto(page.as_uri())
        faults = []
        for width in WIDTHS:
            shown.set_viewport_size({"width": width, "height": 900})
            faults += [f"{width}: {fault}" for fault in shown.evaluate(FAULTS)]
        return faults
