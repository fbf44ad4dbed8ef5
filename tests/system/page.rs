//! The status page in a browser.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::deployer::Request;
use ecs_deployd::health::Health;
use ecs_deployd::metrics::Metrics;
use ecs_deployd::status::Status;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::browser::Browser;

const WIDTHS: [u32; 2] = [1200, 360];
const THEMES: [&str; 2] = ["light", "dark"];

/// The daemon's own HTTP server, with a status that stands still. It ends when this is dropped.
struct Served {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

fn serve(name: &str) -> Served {
    let text = fs::read_to_string(format!("tests/data/status/{name}.json")).unwrap();
    let status: Status = serde_json::from_str(&text).unwrap();
    let (stop, stopped) = watch::channel(false);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let (asks, mut requests) = mpsc::channel::<Request>(1);
            tokio::spawn(async move {
                while let Some(Request::Status(answer)) = requests.recv().await {
                    let _: Result<(), _> = oneshot::Sender::send(answer, status.clone()).map_err(drop);
                }
            });
            let metrics = Metrics::new("test", "test", status_time()).unwrap();
            ecs_deployd::http::serve(listener, Arc::new(metrics), Arc::new(Health::new()), asks, stopped).await;
        });
    });
    Served { address: told.recv_timeout(Duration::from_secs(10)).unwrap(), _stop: stop }
}

fn status_time() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1).unwrap()
}

/// Where the pictures are: for people to look at.
fn pictures() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("status-page");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The smallest contrast of any text with what is behind it, by WCAG's formula, and where.
const WORST_CONTRAST: &str = r#"
const canvas = text => text.match(/[\d.]+/g).map(Number);
const light = ([r, g, b]) => { const f = c => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
  return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
const behind = element => { for (let e = element; e; e = e.parentElement) {
  const c = canvas(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
let worst = [99, ""];
for (const element of document.body.querySelectorAll("*")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  if (!own || element.closest("svg") || !element.getClientRects().length) continue;
  const [a, b] = [light(canvas(getComputedStyle(element).color)), light(behind(element))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < worst[0]) worst = [ratio, element.outerHTML.slice(0, 120)];
}
return worst;
"#;

#[test]
fn the_page_is_readable_in_both_themes_on_desktop_and_phone() {
    let browser = Browser::start();
    for name in ["busy", "empty", "waiting"] {
        let served = serve(name);
        for theme in THEMES {
            for width in WIDTHS {
                browser.wear(width, theme);
                browser.open(&format!("http://{}/?refresh=off", served.address));
                let place = format!("{name}, {theme}, {width} px");
                let wide = browser.evaluate(
                    "const d = document.documentElement; return [...document.querySelectorAll('*')]
                     .filter(e => e.getBoundingClientRect().right > d.clientWidth + 1 && !e.closest('thead')).map(e => e.outerHTML.slice(0, 100))",
                );
                assert_eq!(wide, json!([]), "{place}: wider than the screen");
                assert_eq!(
                    browser.evaluate("return document.documentElement.scrollWidth <= innerWidth"),
                    true,
                    "{place}"
                );
                let worst = browser.evaluate(WORST_CONTRAST);
                assert!(worst[0].as_f64().unwrap() >= 4.5, "{place}: {worst}");
                let scheme = browser.evaluate("return getComputedStyle(document.body).backgroundColor");
                assert_eq!(scheme == "rgb(15, 18, 22)", theme == "dark", "{place}: {scheme}");
                browser.picture(&pictures().join(format!("{name}-{theme}-{width}.png")));
                assert_eq!(browser.complaints(), Vec::<Value>::new(), "{place}");
            }
        }
    }
}

#[test]
fn what_an_attacker_pushes_stays_text() {
    let (browser, served) = (Browser::start(), serve("busy"));
    browser.open(&format!("http://{}/", served.address));
    let foreign = "return document.querySelectorAll('script, img, link, iframe, object, [onerror], [style]').length";
    assert_eq!(browser.evaluate(foreign), 0);
    let text = browser.evaluate("return document.body.innerText");
    assert!(text.as_str().unwrap().contains("<img src=x onerror=alert(1)>"), "it is shown as what it is");
    let search = "%3Cscript%3Edocument.title=1%3C/script%3E%22%3E%3Cb%3E";
    browser.open(&format!("http://{}/?q={search}", served.address));
    assert_eq!(browser.evaluate(foreign), 0);
    assert_eq!(
        browser.evaluate("return document.querySelector('input[type=search]').value.startsWith('<script>')"),
        true
    );
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

#[test]
fn the_page_speaks_to_keyboards_and_screen_readers() {
    let (browser, served) = (Browser::start(), serve("busy"));
    browser.open(&format!("http://{}/?refresh=off", served.address));
    browser.press("\u{e004}");
    let focused = browser.evaluate("return document.activeElement.innerText + ' ' + document.activeElement.offsetLeft");
    assert!(focused.as_str().unwrap().starts_with("Skip to the services"), "{focused}");
    assert!(!focused.as_str().unwrap().contains('-'), "it is seen when it has the focus: {focused}");
    let tree = browser.devtools("Accessibility.getFullAXTree", &json!({}));
    let nodes: Vec<(String, String)> = tree["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["ignored"] == false)
        .map(|node| {
            let text = |member: &str| node[member]["value"].as_str().unwrap_or_default().to_owned();
            (text("role"), text("name"))
        })
        .collect();
    let has = |role: &str, name: &str| nodes.iter().any(|(is, named)| is == role && named.contains(name));
    for (role, name) in [
        ("heading", "web/shop"),
        ("article", "web/shop"),
        ("progressbar", "New tasks that run"),
        ("image", "3 deployments, 2 completed"),
        ("alert", ""),
        ("table", "What was decided about each"),
        ("columnheader", "Decision"),
        ("cell", "tag_mismatch"),
    ] {
        assert!(has(role, name), "no {role} {name:?} in {nodes:#?}");
    }
}

#[test]
fn a_reader_without_javascript_gets_the_same() {
    let (browser, served) = (Browser::start(), serve("busy"));
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
    browser.open(&format!("http://{}/", served.address));
    let (status, text) = local_aws::http::get(&format!("http://{}/", served.address), Duration::from_secs(10)).unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("3 of 6 new tasks run, 2 starting"), "{text}");
    assert!(text.contains("<meta http-equiv=\"refresh\" content=\"10\">"), "it refreshes itself");
}
