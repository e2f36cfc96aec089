#!/usr/bin/env python3
"""A browser judges the usage page.

usage: page.py path/to/usaged

Starts `usaged run --sandbox` with a page, lets the demo's key open the portal, and leads a headless Chromium through it: with
and without its script, light and dark, on a desk and on a phone. Nothing but the daemon's own addresses can be reached by
that browser. Needs Chromium with its driver, and page.requirements.txt. PAGE_SHOTS=DIR keeps screenshots. Prints one line and
exits 0 if all is as expected, and otherwise prints each mismatch and exits 1.
"""

import base64
import http.server
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.by import By

TOKEN = "the token of the page that is judged"
AGENT = "rk_test_usagedDemoAgent"
SECRET = "sk_test_usagedDemoSecret"
AGENT_MAY = ["subscription_read", "customer_read", "usage_record_write", "invoice_read", "balance_read", "price_read"]
AXE = pathlib.Path(importlib.util.find_spec("axe_playwright_python").origin).with_name("axe.min.js").read_text()
DESK, PHONE = (1280, 900), (390, 844)
mismatches = []
checks = 0


def expect(what, found, wanted):
    global checks
    checks += 1
    if found != wanted:
        mismatches.append(f"{what}: found {found!r}, wanted {wanted!r}")


def until(what, look):
    """What `look` sees, once it is something."""
    end, seen = time.monotonic() + 90, None
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.1)
    raise SystemExit(f"waited in vain until {what}; seen last: {seen!r}")


class Daemon:
    """usaged with its own sandbox, and a page."""

    def __init__(self, usaged, home):
        self.home, self.usaged = home, usaged
        token = home / "token"
        token.touch(mode=0o600)
        token.write_text(TOKEN)
        config = home / "usaged.toml"
        config.write_text(f'[dashboard]\nlisten = "127.0.0.1:0"\ntoken_file = "{token}"\n')
        places = ["--state-dir", home / "state", "--runtime-dir", home / "run", "--config", config]
        command = [usaged, "run", "--sandbox", *map(str, places)]
        self.log = home / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]})
        self.page = self.says(r"the usage page is on (http://[^/\s]+)/")
        self.stripe = self.says(r"Stripe sandbox on (http://[^,\s]+)")

    def says(self, pattern):
        return until(f"it says {pattern}", lambda: re.search(pattern, self.log.read_text()))[1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        expect("the daemon's exit code", self.process.wait(60), 0)

    def ctl(self, *words):
        command = [self.usaged.with_name("usagectl"), "--socket", self.home / "run/sandbox/usaged.sock", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def ask_stripe(self, path, body, kind, key=SECRET):
        headers = {"Content-Type": kind, "Authorization": f"Bearer {key}"}
        with urllib.request.urlopen(urllib.request.Request(self.stripe + path, body, headers)) as answer:
            return json.load(answer)

    def allow_portal(self):
        order = {"key": AGENT, "permissions": [*AGENT_MAY, "customer_portal_write"]}
        self.ask_stripe("/_sandbox/keys", json.dumps(order).encode(), "application/json")
        terms = {"features[invoice_history][enabled]": "true", "metadata[usagectl]": "portal"}
        form = urllib.parse.urlencode(terms).encode()
        self.ask_stripe("/v1/billing_portal/configurations", form, "application/x-www-form-urlencoded")

    def is_billed(self):
        return bool(json.loads(self.ctl("status", "--json"))["push"]["last_accepted_at"])


class Browser:
    """A Chromium of its own. Whatever is not on this machine cannot be reached, and every try is on record."""

    def __init__(self, size, scheme="light", script=True):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        # As root, as in a container, it has no sandbox of its own.
        for word in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]:
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        if not script:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        self.driver.set_window_size(*size)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        mobile = size == PHONE
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.name = f"{'phone' if mobile else 'desk'}-{scheme}"
        self.asked = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def open(self, url):
        self.driver.get(url)

    def text(self, css="body"):
        found = self.driver.find_elements(By.CSS_SELECTOR, css)
        return found[0].text if found else ""

    def press(self, words):
        self.driver.find_element(By.XPATH, f"//button[normalize-space()='{words}']").click()

    def log_in(self, page):
        self.open(page + "/")
        expect(f"{self.name}: who is not logged in is asked for the token", self.driver.title, "Log in to the usage page")
        self.driver.find_element(By.ID, "token").send_keys(TOKEN)
        self.press("Log in")
        until("the page is there", lambda: self.driver.title == "Usage")

    def requests(self):
        """Every address that was asked for until now."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])
        return self.asked

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def judge(self, what):
        """Nothing serious for axe, nothing wider than the screen, nothing said on the console."""
        what = f"{self.name}, {what}"
        expect(f"{what}: the console", self.complaints(), [])
        # By the debugger, which the page's own policy does not bind.
        evaluate = lambda text, wait=False: self.driver.execute_cdp_cmd(
            "Runtime.evaluate", {"expression": text, "awaitPromise": wait, "returnByValue": True})["result"].get("value")
        evaluate(AXE)
        found = json.loads(evaluate("axe.run().then(found => JSON.stringify(found.violations))", True))
        grave = [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")]
        expect(f"{what}: axe", grave, [])
        wide = evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        expect(f"{what}: wider than the screen", wide, 0)
        self.shoot(what)

    def shoot(self, what):
        if shots := os.environ.get("PAGE_SHOTS"):
            whole = {"captureBeyondViewport": True, "format": "png"}
            picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", whole)["data"]
            path = pathlib.Path(shots) / f"{what.replace(', ', '-').replace(' ', '-')}.png"
            path.write_bytes(base64.b64decode(picture))


def serve(html):
    """A page of another site, which links here."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def judge_looks(daemon, report):
    for size in (DESK, PHONE):
        for scheme in ("light", "dark"):
            with Browser(size, scheme) as browser:
                browser.open(daemon.page + "/login")
                browser.judge("login")
                browser.log_in(daemon.page)
                browser.judge("page")
                for summary in browser.driver.find_elements(By.TAG_NAME, "summary"):
                    summary.click()
                browser.judge("page unfolded")
                browser.open(daemon.page + "/explain")
                expect("the explained page's title", browser.driver.title, "What is billed, and why")
                browser.judge("explain")
                foreign = {url for url in browser.requests() if not url.startswith((daemon.page + "/", "data:"))}
                expect(f"{browser.name}: asked for elsewhere", {url for url in foreign if url.startswith("http")}, set())
                before = len(browser.requests())
                browser.open(report.as_uri())
                browser.judge("explain as a file")
                expect("what the file asks for", [url for url in browser.requests()[before:] if url != report.as_uri()], [])


def judge_without_script(daemon):
    with Browser(DESK, script=False) as browser:
        browser.log_in(daemon.page)
        for words in ["This period", "compute_seconds", "Sending", "Deliveries", "accepted", "Not watched", "Alerts"]:
            expect(f"without a script it says {words}", words in browser.text(), True)
        expect("without a script: charts", len(browser.driver.find_elements(By.CSS_SELECTOR, "svg rect")) > 24, True)
        browser.press("Manage subscription")
        # Stripe's own page is not there; its address is what the sandbox made.
        until("it goes on to the portal", lambda: browser.driver.current_url.startswith("https://billing.stripe.com/"))
        made = browser.driver.current_url
        expect("the portal's address", bool(re.fullmatch(r"https://billing\.stripe\.com/p/session/test_bps_\w+", made)), True)
        browser.open(daemon.page + "/")
        browser.press("Log out")
        until("it is logged out", lambda: browser.driver.title == "Log in to the usage page")


def judge_refresh(daemon):
    with Browser(DESK) as browser:
        browser.log_in(daemon.page)
        as_of = browser.text("main > p.soft")
        first = browser.driver.find_element(By.CSS_SELECTOR, "details")
        first.find_element(By.TAG_NAME, "summary").click()
        opened = first.get_attribute("id")
        # Whoever is about to use something keeps it; so they look elsewhere now.
        browser.driver.execute_script("document.activeElement.blur()")
        daemon.ctl("record", "api_credits", "77", "--id", "while-it-is-shown")
        until("what was just used is shown", lambda: "89 credits" in browser.text("main"))
        expect("it is newer", browser.text("main > p.soft") != as_of, True)
        expect("what was unfolded stays so", browser.driver.find_element(By.ID, opened).get_attribute("open"), "true")
        expect("the console after a refresh", browser.complaints(), [])
        # The session ends: what comes next is the way to another one.
        browser.driver.delete_all_cookies()
        until("it asks for the token again", lambda: browser.driver.title == "Log in to the usage page")


def judge_the_way_back(daemon):
    other = serve(f'<!doctype html><title>Elsewhere</title><a id="back" href="{daemon.page}/back">Back</a>')
    with Browser(DESK) as browser:
        browser.log_in(daemon.page)
        # Another site in a browser's eyes, as the portal is.
        browser.open(f"http://localhost:{other.server_port}/")
        browser.driver.find_element(By.ID, "back").click()
        until("it leads back to the page, still logged in", lambda: browser.driver.title == "Usage")
        # And nothing of ours can be put into a frame there.
        framed = serve(f'<!doctype html><title>Framed</title><iframe src="{daemon.page}/login"></iframe>')
        browser.open(f"http://localhost:{framed.server_port}/")
        refused = until("the frame is refused", browser.complaints)
        expect("why it is", any("frame-ancestors" in line for line in refused), True)


def main(usaged):
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        daemon = Daemon(pathlib.Path(usaged), home)
        try:
            daemon.allow_portal()
            daemon.ctl("record", "api_credits", "12", "--id", "order-1")
            until("a push was accepted", daemon.is_billed)
            report = home / "report.html"
            daemon.ctl("explain", "--html", str(report))
            judge_without_script(daemon)
            judge_refresh(daemon)
            judge_the_way_back(daemon)
            judge_looks(daemon, report)
        finally:
            daemon.stop()
        expect("the token in the log", TOKEN in daemon.log.read_text(), False)
    if mismatches:
        print("\n".join(mismatches), file=sys.stderr)
        raise SystemExit(1)
    print(f"Chromium finds the usage page as it should be: {checks} checks")


main(*sys.argv[1:])
