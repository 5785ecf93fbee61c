//! Debian's Chromium, without a window, driven over its debugging protocol.
//!
//! The protocol runs over two named pipes (`--remote-debugging-pipe`), so that it needs no port and no further library.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use serde_json::{Value, json};

use crate::host::Host;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools;
use crate::wait::{default_timeout, eventually};
use crate::world::World;

/// Names a folder for the pictures of [`Browser::picture`]; without it none are taken.
const PICTURES: &str = "PALISADE_PICTURES";

/// The configuration of fontconfig: the font beside the peers.
fn fonts_of(folder: &Path) -> Outcome<String> {
    let (fonts, cache) = (tools::peers_dir()?.join("root/usr/share/fonts"), folder.join("fonts"));
    Ok(format!(
        "<fontconfig><dir>{}</dir><cachedir>{}</cachedir></fontconfig>\n",
        fonts.display(),
        cache.display()
    ))
}

/// A running browser with one page; killed when dropped.
pub struct Browser {
    _process: Process,
    commands: File,
    messages: Receiver<Value>,
    last_id: u64,
    session: Option<String>,
    requests: Vec<String>,
    problems: Vec<String>,
}

impl Browser {
    /// Starts it on a host, with an empty page.
    ///
    /// # Errors
    /// When it is not unpacked, or does not come up.
    pub fn start(world: &World, host: &Host) -> Outcome<Self> {
        let program = tools::peers_dir()?.join("root/usr/lib/chromium/chromium-headless-shell");
        if !program.is_file() {
            return Err(Failure::new(format!("Chromium is not in {}; run tests/peers", program.display())));
        }
        let folder = world.fresh_path("browser");
        std::fs::create_dir_all(&folder)?;
        // Not the system's, which a minimal one does not have: without any font pages have no text.
        let fonts = folder.join("fonts.conf");
        std::fs::write(&fonts, fonts_of(&folder)?)?;
        let (inward, outward) = (folder.join("commands"), folder.join("messages"));
        tools::output(tools::command("mkfifo")?.args([&inward, &outward]))?;
        // Open for both directions, so that opening does not wait for the browser.
        let both = |path: &Path| File::options().read(true).write(true).open(path);
        let (commands, answers) = (both(&inward)?, both(&outward)?);
        let mut command = tools::command("sh")?;
        // The protocol is read from descriptor 3 and written to 4.
        command.args([
            "-c",
            "commands=$1 messages=$2; shift 2; exec \"$@\" 3<\"$commands\" 4>\"$messages\"",
            "sh",
        ]);
        command.args([&inward, &outward, &program]);
        command.args([
            // The test is a sandbox of its own: the namespaces leave none for the browser's.
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
        ]);
        command.arg(format!("--user-data-dir={}", folder.join("profile").display())).env("HOME", &folder);
        command.env("FONTCONFIG_FILE", &fonts);
        let process = world.start(host, "chromium", command)?;
        let mut browser = Self {
            _process: process,
            commands,
            messages: received(answers),
            last_id: 0,
            session: None,
            requests: Vec::new(),
            problems: Vec::new(),
        };
        browser.attach()?;
        Ok(browser)
    }

    fn attach(&mut self) -> Outcome {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))?["targetId"].take();
        let attached = self.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}))?;
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Network", "Log", "Runtime"] {
            self.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(())
    }

    /// Sends a command and waits for its result.
    fn call(&mut self, method: &str, params: Value) -> Outcome<Value> {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&command)?;
        bytes.push(0);
        self.commands.write_all(&bytes).doing(format_args!("sending {method}"))?;
        loop {
            let mut message = match self.messages.recv_timeout(default_timeout()) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(format!("the browser does not answer {method}")));
                }
            };
            if message["id"] != self.last_id {
                self.keep(&message);
            } else if message["error"].is_null() {
                return Ok(message["result"].take());
            } else {
                return Err(Failure::new(format!("{method}: {}", message["error"])));
            }
        }
    }

    /// Keeps what an event tells about requests and errors.
    fn keep(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let request = &params["request"];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                self.requests.push(format!("{} {}", text(&request["method"]), text(&request["url"])));
            }
            // Refusals are responses like others here; a violated policy or a failed script is not.
            Some("Log.entryAdded") if params["entry"]["source"] != "network" => {
                self.problems.push(params["entry"]["text"].to_string());
            }
            Some("Runtime.exceptionThrown") => self.problems.push(params["exceptionDetails"].to_string()),
            _ => {}
        }
    }

    /// Opens a URL and waits until its page is loaded.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn open(&mut self, url: &str) -> Outcome {
        let loaded = self.call("Page.navigate", json!({"url": url}))?;
        if let Some(error) = loaded["errorText"].as_str() {
            return Err(Failure::new(format!("opening {url}: {error}")));
        }
        self.wait_for("the page is loaded", "document.readyState === 'complete'")
    }

    /// The value of a JavaScript expression in the page.
    ///
    /// # Errors
    /// When it throws, or the page is just being replaced.
    pub fn evaluate(&mut self, expression: &str) -> Outcome<Value> {
        let params = json!({"expression": expression, "returnByValue": true, "userGesture": true});
        let mut result = self.call("Runtime.evaluate", params)?;
        if result["exceptionDetails"].is_null() {
            return Ok(result["result"]["value"].take());
        }
        Err(Failure::new(format!("{expression}: {}", result["exceptionDetails"]["exception"]["description"])))
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// When it is not in time; with the page's text.
    pub fn wait_for(&mut self, what: &str, expression: &str) -> Outcome {
        let waited = eventually(what, || self.evaluate(expression).map(|value| value == true));
        waited.map(drop).doing(format_args!("the page is {}", self.text().unwrap_or_default()))
    }

    /// The page's address and visible text.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn text(&mut self) -> Outcome<String> {
        let text = self.evaluate("location.href + '\\n' + document.body.innerText")?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Sets the size of the window, as of a phone when it is narrow.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn resize(&mut self, width: u32, height: u32) -> Outcome {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).map(drop)
    }

    /// Prefers `dark` or `light`.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn prefer(&mut self, scheme: &str) -> Outcome {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features})).map(drop)
    }

    /// Sets `Accept-Language` of the following requests.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn speak(&mut self, languages: &str) -> Outcome {
        let user_agent = self.evaluate("navigator.userAgent")?;
        let params = json!({"userAgent": user_agent, "acceptLanguage": languages});
        self.call("Emulation.setUserAgentOverride", params).map(drop)
    }

    /// Switches scripts of pages on or off.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn run_scripts(&mut self, on: bool) -> Outcome {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": !on})).map(drop)
    }

    /// All cookies, hidden ones too: name, value and whether scripts see it.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn cookies(&mut self) -> Outcome<Vec<(String, String, bool)>> {
        let cookies = self.call("Storage.getCookies", json!({}))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = cookies["cookies"].as_array().cloned().unwrap_or_default();
        Ok(all
            .iter()
            .map(|one| (text(&one["name"]), text(&one["value"]), one["httpOnly"] == false))
            .collect())
    }

    /// Forgets all cookies.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn forget_cookies(&mut self) -> Outcome {
        self.call("Network.clearBrowserCookies", json!({})).map(drop)
    }

    /// The requests since the last call, such as `GET http://…/`.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn requests(&mut self) -> Outcome<Vec<String>> {
        // Events before its result are kept.
        self.evaluate("1")?;
        Ok(std::mem::take(&mut self.requests))
    }

    /// Violated policies and failed scripts since the start.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn problems(&mut self) -> Outcome<&[String]> {
        self.evaluate("1")?;
        Ok(&self.problems)
    }

    /// Keeps a picture of the page, for people, where `PALISADE_PICTURES` says.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn picture(&mut self, name: &str) -> Outcome {
        let Some(folder) = std::env::var_os(PICTURES) else { return Ok(()) };
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}))?;
        let mut decoder = tools::command("base64")?;
        decoder.arg("-d").stdin(std::process::Stdio::piped());
        decoder.stdout(File::create(Path::new(&folder).join(format!("{name}.png")))?);
        let mut child = decoder.spawn()?;
        let mut pipe = child.stdin.take().doing("its input is piped")?;
        pipe.write_all(picture["data"].as_str().unwrap_or_default().as_bytes())?;
        drop(pipe);
        child.wait()?;
        Ok(())
    }
}

/// The messages of the browser, each ended by a zero byte. The thread ends with the program.
fn received(answers: File) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for message in BufReader::new(answers).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { continue };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}
