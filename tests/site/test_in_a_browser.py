"""The built site in a real browser, as wide as a phone and as a desk."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import pathlib
import queue
import shutil
import subprocess
import threading

import pytest

SITE = pathlib.Path(
    os.environ.get("PROBINF_SITE", pathlib.Path(__file__).parents[2] / "docs/_build/html")
)
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
WIDTHS = (390, 1280)  # pixels: a phone and a desk
SETTINGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0"
)
# Loads every page in a frame of each width, in the dark theme, and sends what it finds: how far
# the page is wider than its frame and what reaches over, pictures that did not load, and those
# that let the dark page through.
MEASURE = """<!doctype html><body><script>
const pages = PAGES, widths = WIDTHS, found = [];
const settled = (frame, url) => new Promise(done => { frame.onload = done; frame.src = url; });
const pause = ms => new Promise(done => setTimeout(done, ms));
function scrolls(node) {
  for (let n = node.parentElement; n; n = n.parentElement)
    if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(n).overflowX)
        && n.tagName != "HTML" && n.tagName != "BODY") return true;
  return false;
}
function transparent(doc, image) {
  if (image.naturalWidth == 0) return false;
  const canvas = doc.createElement("canvas");
  canvas.width = canvas.height = 4;
  const brush = canvas.getContext("2d");
  brush.drawImage(image, 0, 0, 4, 4);
  const clear = brush.getImageData(0, 0, 1, 1).data[3] < 250;
  return clear && getComputedStyle(image).backgroundColor == "rgba(0, 0, 0, 0)";
}
async function main() {
  for (const page of pages) for (const width of widths) {
    const frame = document.createElement("iframe");
    frame.style = `width:${width}px;height:900px;border:0`;
    document.body.append(frame);
    await settled(frame, page);
    const doc = frame.contentDocument, root = doc.documentElement;
    doc.body.dataset.theme = "dark";
    for (const image of doc.images) {
      image.loading = "eager";
      await image.decode().catch(() => 0);
    }
    await pause(30);
    const over = root.scrollWidth - root.clientWidth;
    const wide = over <= 0 ? [] : [...doc.querySelectorAll("body *")].filter(
      n => n.getBoundingClientRect().right > width + 1 && !scrolls(n)).slice(0, 3).map(
      n => n.tagName + "." + n.className + ": " + n.textContent.trim().slice(0, 40));
    const images = [...doc.querySelectorAll("article img")];
    found.push({page, width, over, wide,
      missing: images.filter(i => i.naturalWidth == 0).map(i => i.src),
      clear: images.filter(i => transparent(doc, i)).map(i => i.src),
      pictures: images.length, text: doc.body.innerText.length});
    frame.remove();
  }
  await fetch("/__found", {method: "POST", body: JSON.stringify(found)});
}
main();
</script>"""


class Pages(http.server.SimpleHTTPRequestHandler):
    """The site, the page that measures it, and an ear for what that finds."""

    def __init__(self, *given, page, found, **options):
        self.page, self.found = page, found
        super().__init__(*given, **options)

    def do_GET(self):
        if self.path != "/__measure.html":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.page.encode())

    def do_POST(self):
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder, page):
    """Address of the folder on this machine, and the queue of what the page sends."""
    found = queue.Queue()
    handler = functools.partial(Pages, page=page, found=found, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", found
        server.shutdown()


def measured(folder, pages, scratch):
    """What the browser finds on the pages, at each width."""
    page = MEASURE.replace("PAGES", json.dumps(pages)).replace("WIDTHS", str([*WIDTHS]))
    with served(folder, page) as (address, found):
        command = [BROWSER, *SETTINGS.split(), f"--user-data-dir={scratch}"]
        with subprocess.Popen(
            [*command, "--window-size=1400,1000", f"{address}/__measure.html"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as browser:
            try:
                return found.get(timeout=500)
            finally:
                browser.kill()


def faults(rows):
    """A line for everything that is wrong."""
    for row in rows:
        where = f"{row['page']} at {row['width']} px"
        if row["over"] > 0:
            yield f"{where}: {row['over']} px too wide: {row['wide']}"
        yield from (f"{where}: no picture {source}" for source in row["missing"])
        yield from (f"{where}: dark on dark {source}" for source in row["clear"])
        if row["text"] < 50:
            yield f"{where}: nothing to read"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.skipif(not (SITE / "index.html").exists(), reason=f"no built site in {SITE}")
def test_no_page_scrolls_sideways_and_pictures_are_legible_in_the_dark(tmp_path):
    inner = ("_modules", "_static", "_sources", "genindex.html", "search.html", "py-modindex.html")
    pages = sorted(
        str(page.relative_to(SITE))
        for page in SITE.rglob("*.html")
        if not str(page.relative_to(SITE)).startswith(inner)
    )
    rows = measured(SITE, pages, tmp_path)
    assert len(rows) == len(pages) * len(WIDTHS) and sum(row["pictures"] for row in rows) > 50
    assert not [*faults(rows)], "\n".join(faults(rows))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_wide_page_and_pictures_that_cannot_be_seen_are_caught(tmp_path):
    (tmp_path / "site").mkdir()
    words = "<p>" + "What is said on this page. " * 9
    bad = f"{words}<table style='width:900px'><tr><td>wide</table>"
    picture = '<article><img src="data:image/svg+xml,%3Csvg xmlns=%27http://www.w3.org/2000/svg%27 '
    picture += 'width=%279%27 height=%279%27/%3E"><img src="none.png"></article>'
    good = f"{words}<div style='overflow-x:auto'><table style='width:900px'><tr><td>wide</table>"
    for name, text in {"bad": bad, "picture": words + picture, "good": good}.items():
        head = "<!doctype html><meta name=viewport content='width=device-width'>"
        (tmp_path / "site" / f"{name}.html").write_text(head + text)
    pages = [f"{name}.html" for name in ("bad", "picture", "good")]
    told = "\n".join(faults(measured(tmp_path / "site", pages, tmp_path / "browser")))
    assert "bad.html at 390 px" in told and "bad.html at 1280" not in told
    assert "picture.html at 390 px: no picture" in told and "dark on dark" in told
    assert "good.html" not in told
