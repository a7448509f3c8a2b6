"""What holds of every page of the extension: no violation that axe-core finds, nothing out of sight, focus that is seen."""

import json
from typing import Any

from playwright.sync_api import Page

from tests.extension.sharer import View
from tests.network.processes import ROOT

AXE = ROOT / "extension" / "node_modules" / "axe-core" / "axe.min.js"
SECTIONS = (
    *("overview", "log", "limits", "sites", "purposes"),
    *("reputation", "wallet", "network", "privacy", "leave"),
)
POPUP_WIDTH, POPUP_HEIGHT = 360, 600
"""As wide as the popup makes itself, and as high as Chromium lets it be."""
PAGES = ("consent.html", "popup.html", *(f"dashboard.html#{section}" for section in SECTIONS))

_RUN_AXE = """
async () => {
  SOURCE
  const { violations } = await axe.run({ exclude: ["[hidden]"] }, { preload: false, resultTypes: ["violations"] });
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
}
"""

# Strips that scroll on their own are left out with what is in them, and text that is there for screen readers alone.
_OUT_OF_SIGHT = """
() => {
  const found = [];
  const name = (element) => `${element.tagName}#${element.id}.${element.className} "${element.textContent.slice(0, 40)}"`;
  const scrolls = ".board-nav, .table-frame, .visually-hidden, .skip-link, thead";
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) found.push(`the page is ${wide} px too wide`);
  for (const element of document.body.querySelectorAll("*")) {
    if (!element.checkVisibility() || element.closest(scrolls) !== null || element.matches("option, wbr")) continue;
    const { left, right, width } = element.getBoundingClientRect();
    if (width > 0 && (left < -0.5 || right > innerWidth + 0.5)) found.push(`${name(element)} sticks out`);
    const tight = "button, .button, .tag, .plot, .plot-area, .plot-scale, .card, td, th, dd, dt, h1, h2, h3, legend";
    if (element.matches(tight) && element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0) {
      found.push(`${name(element)} is wider inside (${element.scrollWidth}) than outside (${element.clientWidth})`);
    }
  }
  for (const scale of document.querySelectorAll(".plot-scale")) {
    const plot = scale.nextElementSibling?.getBoundingClientRect();
    if (scale.checkVisibility() && plot.width < 150) found.push(`a plot is only ${plot.width} px wide`);
  }
  return found;
}
"""

_FOCUSED = """
() => {
  const focused = document.activeElement;
  if (focused === document.body) return { place: "BODY" };
  const shows = (element) => {
    const { boxShadow, outlineStyle, outlineWidth, outlineColor } = getComputedStyle(element);
    const isClear = outlineColor === "transparent" || outlineColor.endsWith(", 0)");
    return boxShadow !== "none" || (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 && !isClear);
  };
  const { left, top, right, bottom } = focused.getBoundingClientRect();
  const middle = (from, until, most) => (Math.max(from, 0) + Math.min(until, most)) / 2;
  const at = document.elementFromPoint(middle(left, right, innerWidth), middle(top, bottom, innerHeight));
  const isOnTop = at !== null && (focused.contains(at) || at.contains(focused) || at.closest("label") !== null);
  const number = [...document.querySelectorAll("*")].indexOf(focused);
  return {
    place: `${focused.tagName}#${focused.id} ${number} "${focused.textContent.slice(0, 40)}"`,
    isRinged: shows(focused) || (focused.matches(".segments input") && shows(focused.nextElementSibling)),
    isInView: isOnTop && bottom > 0 && top < innerHeight && left >= 0 && right <= innerWidth,
  };
}
"""

_INTERACTIVE = {
    *("button", "link", "checkbox", "radio", "textbox", "searchbox", "combobox", "slider", "switch", "spinbutton"),
    *("DisclosureTriangle", "meter", "progressbar", "table", "dialog", "navigation", "group", "InputTime"),
}
_NEED_NO_NAME = {"group"}
"""What a `details` is to the accessibility tree; its summary has the name."""


def violations(view: View) -> list[str]:
    """What axe-core finds, all of its rules."""
    run = _RUN_AXE.replace("SOURCE", AXE.read_text())
    found: list[str] = view.evaluate(run if isinstance(view, Page) else f"({run})()")
    return found


def out_of_sight(view: View) -> list[str]:
    """What reaches beyond the window, is cut off, or needs sideways scrolling."""
    found: list[str] = view.evaluate(_OUT_OF_SIGHT if isinstance(view, Page) else f"({_OUT_OF_SIGHT})()")
    return found


def tab_on(page: Page, key: str = "Tab") -> dict[str, Any]:
    """Go on with the keyboard by one: what has the focus now, which must be seen to have it."""
    page.keyboard.press(key)
    stop: dict[str, Any] = page.evaluate(_FOCUSED)
    if stop["place"] != "BODY":
        assert stop["isRinged"], f"nobody sees that {stop['place']} has the focus"
        assert stop["isInView"], f"{stop['place']} has the focus out of view"
    return stop


def tab_to(page: Page, selector: str, *, most: int = 80, key: str = "Tab") -> None:
    """Go on with the keyboard until an element has the focus; every stop on the way must be seen to have it."""
    for _ in range(most):
        tab_on(page, key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{most} times {key} do not reach {selector}")


def names(page: Page) -> list[tuple[str, str]]:
    """Role and name of everything that screen readers offer to operate, in the order of the page."""
    session = page.context.new_cdp_session(page)
    try:
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    finally:
        session.detach()
    shown = [node for node in nodes if not node["ignored"]]
    pairs = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in shown]
    return [(role, name) for role, name in pairs if role in _INTERACTIVE - _NEED_NO_NAME]


def go(view: View, path: str) -> None:
    """Show a page of the extension, or another section of the same one, with what it has read from its store."""
    page, _, section = path.partition("#")
    if section and str(view.evaluate("location.pathname")).endswith(page):
        view.evaluate(f"void (location.hash = {json.dumps(section)})")
    else:
        view.goto(f"{view.evaluate('location.origin')}/{path}")
    settle(view)


def settle(view: View) -> None:
    """Wait until a page has saved what was done on it, and shows what it has read.

    It stays the same for a while in which the browser gave the answers that a page asks it for: it gives them in order,
    and on a busy machine late.
    """
    view.evaluate(
        """(async () => {
          let before = null;
          let now = "";
          while (before !== now || document.body.hidden || document.querySelector("[aria-busy]") !== null) {
            before = now;
            await navigator.locks.request("meadow-rules", () => chrome.storage.local.get(null));
            await chrome.storage.local.get(null);
            await indexedDB.databases();
            await new Promise((resolve) => setTimeout(resolve, 60));
            now = `${document.body.innerText.length} ${document.body.innerHTML.length}`;
          }
        })()"""
    )


def turned(view: View, direction: str) -> None:
    """Have the page read in a direction: `rtl` or `ltr`."""
    view.evaluate(f"void (document.documentElement.dir = {json.dumps(direction)})")


def resize(page: Page, width: int, scheme: str = "light") -> None:
    """Show a page in a window so wide, in a theme; nothing moves or fades."""
    page.set_viewport_size({"width": width, "height": 800})
    # Colours that fade from one theme to the other would be measured half-way.
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")


def popup_height(page: Page) -> int:
    """How high the popup makes itself, in CSS pixels, with its last pages in it."""
    page.set_viewport_size({"width": POPUP_WIDTH, "height": POPUP_HEIGHT})
    go(page, "popup.html")
    assert page.locator("#log li").count() > 0
    return int(page.evaluate("document.body.offsetHeight"))
