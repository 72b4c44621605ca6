"""Headless Chromium for the tests of pages: found or skipped, one browser a module, console errors are failures."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
PHONE, DESKTOP = 375, 1280


def require_browser() -> tuple[str, str]:
    """The paths of Chromium and its driver; skips the test where one is missing."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("Chromium and its driver are not installed (Debian: chromium, chromium-driver)")
    return browser, driver


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser with an empty profile and stop it."""
    binary, driver_path = require_browser()
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(driver_path))
        try:
            yield driver
        finally:
            driver.quit()


def resize(driver: Any, width: int, scheme: str = "light") -> None:
    """Give the page a width in CSS pixels and a preferred colour scheme."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def open_page(driver: Any, path: Path, *, width: int = DESKTOP, scheme: str = "light") -> None:
    """Open a file and wait until its scripts are done."""
    from selenium.webdriver.support.ui import WebDriverWait

    resize(driver, width, scheme)
    driver.get(path.as_uri())
    WebDriverWait(driver, 60).until(
        lambda d: d.execute_script("return document.documentElement.dataset.ready === 'true'")
    )


def console(driver: Any) -> list[str]:
    """What the page has written to the console since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]
