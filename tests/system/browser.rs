//! Chromium without a screen, driven by ChromeDriver.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::wait_for;

/// A browser. It ends when this is dropped.
pub struct Browser {
    driver: Child,
    session: String,
    _folder: TempDir,
}

impl Browser {
    /// Starts one of its own. Debian's packages are `chromium` and `chromium-driver`.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("log");
        let log = File::create(&path).unwrap();
        let driver = Command::new("chromedriver")
            // A port of its own choice, which it says: one that was chosen for it can be taken by then.
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver: {error}; apt-get install chromium chromium-driver"));
        let mut browser = Self { driver, session: String::new(), _folder: folder };
        let port = wait_for("the port of chromedriver", || {
            let text = std::fs::read_to_string(&path).unwrap();
            let (_, port) = text.lines().find_map(|line| line.split_once("started successfully on port "))?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let url = format!("http://127.0.0.1:{port}");
        browser.session.clone_from(&url);
        let data = browser._folder.path().join("data");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
        ];
        let arguments: Vec<String> =
            arguments.map(str::to_owned).into_iter().chain([format!("--user-data-dir={}", data.display())]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"args": arguments},
        }}});
        let begun = browser.post("/session", &wanted);
        browser.session = format!("{url}/session/{}", begun["sessionId"].as_str().unwrap());
        browser
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let mut answer = agent.post(format!("{}{path}", self.session)).send_json(body).unwrap();
        let value: Value = answer.body_mut().read_json().unwrap();
        assert!(answer.status().is_success(), "{path}: {value:#}");
        value["value"].clone()
    }

    /// Goes to a page.
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// The value of a script.
    pub fn evaluate(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// One command of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// What the browser complained about since the last time.
    pub fn complaints(&self) -> Vec<Value> {
        self.post("/se/log", &json!({"type": "browser"})).as_array().unwrap().clone()
    }

    /// A screen of this width, in one of the two themes.
    pub fn wear(&self, width: u32, theme: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.devtools("Emulation.setEmulatedMedia", &media);
    }

    /// Writes a picture of the whole page.
    pub fn picture(&self, to: &Path) {
        let picture = self.devtools("Page.captureScreenshot", &json!({"captureBeyondViewport": true}));
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }

    /// Presses a key, by its name in the WebDriver standard.
    pub fn press(&self, key: &str) {
        let actions = json!([{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]);
        self.post("/actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // ChromeDriver takes the browser with it only if the session is ended.
        let _ = ureq::delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
