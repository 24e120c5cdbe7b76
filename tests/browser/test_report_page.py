"""Drives the report in headless Chromium as a reader does: load, hover, click, switch axis, compare, change theme."""

import base64
import json
import os
import runpy
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from djpq.report import write_report

pytestmark = [pytest.mark.slow, pytest.mark.browser]

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--window-size=1400,900"),
)
METHODS = ("djpq", "benchmarks.methods.uniform", "benchmarks.methods.bits_only")
REPORT_TESTS = runpy.run_path(str(Path(__file__).parents[1] / "djpq" / "test_report.py"))
EVIL = REPORT_TESTS["EVIL"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A sweep of two networks, three machines, three methods, and one run whose every name is an attack."""
    folder = tmp_path_factory.mktemp("report")
    machines = ("loom", "bitfusion", "mac_array_28nm")
    runs = REPORT_TESTS["make_runs"](folder / "runs", ("resnet8", "vgg7"), machines, METHODS, shares=(0.005, 0.01, 0.02, 0.04, 0.08))
    result = REPORT_TESTS["make_result"]("resnet8", "djpq", "loom", 0.003, 7)
    evil = dict.fromkeys(("method", "accelerator", "command", "profile", "budget"), EVIL)
    evil |= {"proof": {EVIL: True}, "versions": {EVIL: EVIL}, "groups": [{"name": EVIL, "kept": 1, "channels": 2}]}
    for layer in result["layers"]:
        layer["name"] = layer["kind"] = layer["bound"] = EVIL
    (runs / "evil <img src=x onerror=window.pwned=1>").mkdir()
    (runs / "evil <img src=x onerror=window.pwned=1>" / "result.json").write_text(json.dumps(result | evil))
    return write_report(runs, folder / "report.html", title="Sweep of digits")


@pytest.fixture
def browser(tmp_path):
    if not (CHROMIUM.exists() and CHROMEDRIVER.exists()):
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} or {CHROMEDRIVER} is missing: apt-get install chromium chromium-driver")
        pytest.skip("chromium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    try:
        driver.get("about:blank")
        driver.get_log("performance")  # what the browser's own start page loaded
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(browser, report):
    """Opens the report; afterwards no console error may stand and no request may have left the page."""

    def show(theme="dark", width=1400, height=900, phone=False, fragment=""):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})
        scheme = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        browser.get(f"{report.as_uri()}{fragment}")
        until(browser, "return document.querySelectorAll('#front .points path').length > 0")
        until(browser, "return document.querySelectorAll('#run-a .layers .main-svg, #run-a .trace .main-svg').length > 3")
        return browser

    yield show
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {event["params"]["request"]["url"] for event in sent if event["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith((report.as_uri(), "data:", "blob:", "about:blank"))} == set()
    assert browser.execute_script("return performance.getEntriesByType('resource').map((it) => it.name)") == []
    assert browser.execute_script("return window.pwned") is None


def until(browser, script, *arguments):
    return WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(script, *arguments))


def screenshot(browser, tmp_path, name):
    folder = Path(os.environ.get("TEST_ARTEFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": metrics["width"], "height": metrics["height"], "scale": 1}
    asked = {"format": "png", "captureBeyondViewport": True, "clip": clip}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", asked)
    (folder / f"report-{name}.png").write_bytes(base64.b64decode(shot["data"]))


def runs_of(browser, **wanted):
    """Ids of the runs whose named columns hold these values."""
    runs = browser.execute_script("return DATA.runs")
    return [run for place, run in enumerate(runs["run"]) if all(runs[key][place] == value for key, value in wanted.items())]


def chosen(browser):
    return browser.execute_script("return [state.a, state.b].map((index) => state.runs[index]?.run ?? null)")


def point(browser, run):
    """The run's mark in the chart, as plotly drew it."""
    script = """
      const index = state.runs.find((it) => it.run === arguments[0]).index;
      for (const trace of document.querySelectorAll("#front .scatterlayer .trace")) {
        for (const mark of trace.querySelectorAll(".points path")) {
          const data = mark.__data__;
          if (data?.trace?.customdata?.[data.i] === index || data?.data === index) return mark;
        }
      }
      return null;
    """
    mark = browser.execute_script(script, run)
    assert mark is not None, f"no mark for {run}"
    return mark


def click(browser, run, shift=False):
    actions = ActionChains(browser).move_to_element(point(browser, run)).pause(0.2)
    if shift:
        actions = actions.key_down(Keys.SHIFT)
    actions = actions.click()
    if shift:
        actions = actions.key_up(Keys.SHIFT)
    actions.perform()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_loads_with_a_recommended_run_open(page, tmp_path, theme):
    browser = page(theme)
    assert browser.title == browser.find_element(By.TAG_NAME, "h1").text == "Sweep of digits"
    assert browser.execute_script("return document.documentElement.dataset.theme") == theme
    assert chosen(browser)[0] is not None
    panel = browser.find_element(By.ID, "run-a").text
    for words in (
        "Test accuracy",
        "Energy",
        "µJ",
        "of 32-bit",
        "Who paid for the saving",
        "djpq train resnet8",
        "Proof",
    ):
        assert words in panel
    buttons = browser.find_elements(By.CSS_SELECTOR, ".modebar-btn")
    names = [button.get_attribute("data-title") for button in buttons]
    assert names == ["Download plot", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"]  # none shares the chart
    screenshot(browser, tmp_path, theme)


def test_hover_names_the_run_and_a_click_opens_it(page, tmp_path):
    browser = page()
    run = runs_of(browser, network="resnet8", method="benchmarks.methods.uniform", accelerator="loom", seed=1)[0]
    browser.execute_script("choose({ machine: 'loom' })")
    ActionChains(browser).move_to_element(point(browser, run)).pause(0.3).perform()
    label = until(browser, "return document.querySelector('#front .hoverlayer .hovertext')?.textContent")
    assert "uniform on loom" in label
    assert "BOPs" in label
    click(browser, run)
    until(browser, "return state.runs[state.a].method === 'benchmarks.methods.uniform'")
    assert "uniform · loom" in browser.find_element(By.CSS_SELECTOR, "#run-a h2").text
    screenshot(browser, tmp_path, "clicked")


@pytest.mark.parametrize("way", ["shift", "button", "table"])
def test_a_second_run_stands_beside_the_first(page, tmp_path, way):
    browser = page()
    Select(browser.find_element(By.ID, "machine")).select_by_visible_text("bitfusion")
    first = chosen(browser)[0]
    second = runs_of(browser, network="resnet8", method="benchmarks.methods.uniform", accelerator="bitfusion", seed=0)[0]
    if way == "button":
        browser.find_element(By.ID, "compare").click()
        assert browser.find_element(By.ID, "hint").text.startswith("Now choose")
    if way == "table":
        row = browser.find_element(By.CSS_SELECTOR, f"#runs tr[data-run='{second}']")
        ActionChains(browser).key_down(Keys.SHIFT).click(row).key_up(Keys.SHIFT).perform()
    else:
        click(browser, second, shift=way == "shift")
    until(browser, "return document.getElementById('run-b') !== null")
    a, b = chosen(browser)
    assert a == first
    assert b.rpartition("-")[0] == second.rpartition("-")[0]  # a seed may lie on top of another
    tops = browser.execute_script("""return ["a", "b"].map((slot) => {
      const parts = [...document.querySelectorAll(`#run-${slot} > *, #run-${slot} .tile`)];
      return parts.map((it) => it.getBoundingClientRect().top);
    })""")
    assert tops[0] == tops[1]  # every section of A is level with B's
    assert "A" in browser.find_element(By.CSS_SELECTOR, "#run-b .tiles").text
    screenshot(browser, tmp_path, f"compare-{way}")
    browser.find_element(By.CSS_SELECTOR, "#run-b button[aria-label='Close run B']").click()
    assert chosen(browser) == [first, None]


def test_every_axis_scale_network_and_method_can_be_chosen(page, tmp_path):
    browser = page()

    def axis():
        return browser.execute_script(
            "const axis = document.getElementById('front').layout.xaxis; return [axis.title.text, ...axis.ticktext]"
        )

    for cost, unit in (("Energy", "J"), ("Cycles", "k"), ("Stored weights", "bit"), ("Peak activation memory", "bit")):
        Select(browser.find_element(By.ID, "cost")).select_by_visible_text(cost)
        Select(browser.find_element(By.ID, "scale")).select_by_visible_text("absolute")
        assert axis()[0] == cost
        assert all(tick.endswith(unit) for tick in axis()[1:])
        Select(browser.find_element(By.ID, "scale")).select_by_visible_text("% of 32-bit")
        assert axis()[0] == f"{cost}, % of the 32-bit network"
        assert 2 <= len(axis()[1:]) == len(set(axis()[1:]))
        assert all(tick.endswith(" %") for tick in axis()[1:])
    Select(browser.find_element(By.ID, "setting")).select_by_visible_text("vgg7 on digits")
    assert browser.find_element(By.ID, "front-title").text == "vgg7 on digits"
    assert "vgg7" in chosen(browser)[0]
    shown = "return document.querySelectorAll('#front .points path').length"
    before = browser.execute_script(shown)
    browser.find_element(By.CSS_SELECTOR, ".chip[title='benchmarks.methods.uniform']").click()
    until(browser, f"{shown} < arguments[0]", before)
    screenshot(browser, tmp_path, "axis")


def test_a_zoom_gets_new_ticks_and_survives_a_click(page):
    browser = page()
    ticks = "return document.getElementById('front').layout.xaxis.ticktext"
    before = browser.execute_script(ticks)
    browser.find_element(By.CSS_SELECTOR, ".modebar-btn[data-title='Zoom in']").click()
    until(browser, f"{ticks}.join() !== arguments[0]", ",".join(before))
    zoomed = browser.execute_script("return document.getElementById('front').layout.xaxis.range")
    browser.execute_script("pick(state.a + 1, false)")
    assert browser.execute_script("return document.getElementById('front').layout.xaxis.range") == pytest.approx(zoomed)


def test_the_theme_button_recolours_everything(page):
    browser = page("dark")
    background = "return getComputedStyle(document.body).backgroundColor"
    dark = browser.execute_script(background)
    browser.find_element(By.ID, "theme").click()
    assert browser.execute_script(background) != dark
    text = browser.execute_script("return document.querySelector('#front .xtitle').style.fill")
    assert text == browser.execute_script("return getComputedStyle(document.body).color")


def test_the_address_brings_back_the_view(page):
    browser = page()
    browser.execute_script("choose({ cost: 'energy_pj', scale: 'absolute', machine: 'loom' }); pick(state.a + 2, true)")
    fragment, before = browser.execute_script("return location.hash"), chosen(browser)
    assert None not in before
    browser.get("about:blank")
    again = page(fragment=fragment)
    assert chosen(again) == before
    assert again.find_element(By.ID, "cost").get_attribute("value") == "energy_pj"
    assert again.find_element(By.ID, "machine").get_attribute("value") == "loom"


def test_copy_gives_the_command(page):
    browser = page()
    browser.execute_script("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    browser.find_element(By.CSS_SELECTOR, "#run-a .copy").click()
    command = until(browser, "return window.copied")
    assert command == browser.execute_script("return state.runs[state.a].command")
    until(browser, "return document.querySelector('#run-a .copy').textContent === 'Copied'")


def test_names_that_attack_are_shown_as_text(page, tmp_path):
    browser = page()
    browser.execute_script("choose({ a: state.runs.find((it) => it.run.startsWith('evil')).index })")
    until(browser, "return document.querySelector('#run-a h2').textContent.includes('</script>')")
    browser.execute_script("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
    mark = point(browser, browser.execute_script("return state.runs[state.a].run"))
    ActionChains(browser).move_to_element(mark).pause(0.3).perform()
    label = until(browser, "return document.querySelector('#front .hoverlayer .hovertext')?.textContent")
    assert "<img src=x" in label
    assert browser.find_elements(By.CSS_SELECTOR, "img") == []
    screenshot(browser, tmp_path, "names")


def test_on_a_phone_nothing_is_wider_than_the_screen(page, tmp_path):
    browser = page("light", width=390, height=844, phone=True)
    wide = "return document.documentElement.scrollWidth"
    assert browser.execute_script(wide) == 390
    screenshot(browser, tmp_path, "phone")
    browser.find_element(By.ID, "compare").click()
    browser.execute_script("pick(state.a + 1, false)")
    until(browser, "return document.getElementById('run-b') !== null")
    assert browser.execute_script(wide) == 390
    screenshot(browser, tmp_path, "phone-compare")


def test_two_costs_against_each_other_have_a_front_of_their_own(page, tmp_path):
    browser = page()
    Select(browser.find_element(By.ID, "y")).select_by_visible_text("Peak activation memory")
    title = "return document.getElementById('front').layout.yaxis.title.text"
    until(browser, f"return ({title.removeprefix('return ')}) === 'Peak activation memory'")
    rows = browser.execute_script(
        "return costFront(state.runs.filter(visible)).map((it) => [it.accelerator, it.cost_median, it.y_median, it.on_front])"
    )
    for machine, cost, height, on_front in rows:
        beaten = any(m == machine and c <= cost and h <= height and (c, h) != (cost, height) for m, c, h, _ in rows)
        assert on_front == (not beaten)
    screenshot(browser, tmp_path, "cost-against-cost")
    Select(browser.find_element(By.ID, "y")).select_by_visible_text("Test accuracy")
    until(browser, f"return ({title.removeprefix('return ')}) === 'Test accuracy'")
