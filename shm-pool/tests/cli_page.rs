//! The live page of `shm view` in a real browser: what it shows is what was published.
//!
//! The browser is the Chromium that `SHM_BROWSER` names; without one the test says that it was skipped.
//! It is driven through its own debugging pipe.

use serde_json::{Value, json};
use shm_core::{Deadline, Stream, StreamConfig};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Things that must happen have this long.
const PATIENCE: Duration = Duration::from_secs(90);
const RED: [u8; 3] = [214, 40, 40];
const GREEN: [u8; 3] = [30, 160, 90];

#[test]
fn the_page_shows_what_is_published() {
    let Some(program) = std::env::var_os("SHM_BROWSER").filter(|path| !path.is_empty()) else {
        println!("SKIPPED: SHM_BROWSER names no browser; `cargo xtask test` sets it");
        return;
    };
    let camera = Camera::new();
    camera.show(Some(RED));
    let viewer = Viewer::of(camera.stream.name());
    let mut browser = Browser::start(&program);
    browser.open(&viewer.address);

    browser.await_text("name", |name| name == camera.stream.name());
    browser.await_text("state", |state| state.contains("live"));
    browser.await_colour(RED);
    let count = || "Number(document.getElementById('count').dataset.count || 0)";
    let before = browser.ask(count()).as_u64().unwrap();

    camera.show(Some(GREEN));
    browser.await_colour(GREEN);
    browser.keep_screenshot("green");
    browser.await_true(&format!("{} >= {}", count(), before + 10));
    browser.await_text("form", |form| form.contains("uint8") && form.contains("48×64×3"));
    browser.await_text("range", |range| range.contains("0") && range.contains("255"));

    // On a phone everything is there, and nothing is wider than the screen.
    browser.resize(390, 844);
    browser.await_true("document.documentElement.scrollWidth <= 390");
    browser.await_colour(GREEN);
    browser.keep_screenshot("phone");
    browser.resize(1200, 800);

    // By night it is dark, and the picture is what it was.
    let ground = "getComputedStyle(document.body).backgroundColor";
    let by_day = browser.ask(ground);
    browser.prefer("dark");
    browser.await_value(ground, |colour| *colour == "rgb(16, 19, 23)" && *colour != by_day);
    browser.await_colour(GREEN);
    browser.keep_screenshot("dark");
    browser.prefer("light");

    // Nobody publishes: first it is silent, then it is gone.
    camera.show(None);
    browser.await_text("state", |state| state.contains("silent since"));
    camera.stream.unlink().unwrap();
    browser.await_text("state", |state| state.contains("gone"));
    browser.keep_screenshot("gone");
    drop(viewer);
    browser.await_text("state", |state| state.contains("ended"));
    assert_eq!(browser.complaints(), [""; 0], "the page complained");
}

/// Publishes one colour, frame after frame, until it is to show another or none.
struct Camera {
    stream: Stream,
    colour: Arc<Mutex<Option<[u8; 3]>>>,
    over: Arc<AtomicBool>,
    publisher: Option<JoinHandle<()>>,
}

impl Camera {
    fn new() -> Camera {
        let name = format!("test-page-{}", std::process::id());
        let config = StreamConfig::of::<u8>(&[48, 64, 3]).unwrap();
        let stream = Stream::create(&name, &config).unwrap();
        let (colour, over) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let mut writer = stream.writer(Deadline::NOW).unwrap();
        let (shown, ended) = (colour.clone(), over.clone());
        let publisher = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let colour: Option<[u8; 3]> = *shown.lock().unwrap();
                if let Some(colour) = colour {
                    writer.publish(&colour.repeat(48 * 64)).unwrap();
                }
                std::thread::sleep(Duration::from_millis(40));
            }
        });
        Camera { stream, colour, over, publisher: Some(publisher) }
    }

    fn show(&self, colour: Option<[u8; 3]>) {
        *self.colour.lock().unwrap() = colour;
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.publisher.take().map(JoinHandle::join);
        let _ = self.stream.unlink();
    }
}

struct Viewer {
    child: Child,
    address: String,
}

impl Viewer {
    fn of(stream: &str) -> Viewer {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shm"))
            .args(["view", stream, "--http", "127.0.0.1:0", "--seconds", "10m"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().nth(2).unwrap().to_owned();
        Viewer { child, address }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Chromium without a window, and the pipe that it is driven by.
struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    sent: u64,
    complaints: Vec<String>,
    profile: PathBuf,
}

impl Browser {
    fn start(program: &OsString) -> Browser {
        let profile = std::env::temp_dir().join(format!("shm-test-browser-{}", std::process::id()));
        // Its pipe has the numbers 3 and 4. As root it has no sandbox; it sees nothing but the page.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--no-default-browser-check", "--disable-extensions"])
            .args(["--disable-background-networking", "--disable-sync", "--mute-audio"])
            .args(["--remote-debugging-pipe", "--window-size=1200,800"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let mut replies = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while replies.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let complaints = Vec::new();
        Browser { child, commands, messages, session: None, sent: 0, complaints, profile }
    }

    fn open(&mut self, address: &str) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", attach);
        self.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        self.call("Runtime.enable", json!({}));
        self.call("Page.enable", json!({}));
        self.call("Page.navigate", json!({ "url": address }));
    }

    fn resize(&mut self, width: u32, height: u32) {
        let mobile = width < 600;
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    fn prefer(&mut self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// The value of an expression.
    fn ask(&mut self, expression: &str) -> Value {
        let question = json!({ "expression": expression, "returnByValue": true });
        self.call("Runtime.evaluate", question)["result"]["value"].clone()
    }

    fn await_true(&mut self, expression: &str) {
        self.await_value(expression, |value| *value == true);
    }

    fn await_text(&mut self, id: &str, is_right: impl Fn(&str) -> bool) {
        let expression = format!("(document.getElementById('{id}') || {{}}).textContent");
        self.await_value(&expression, |value| value.as_str().is_some_and(&is_right));
    }

    fn await_value(&mut self, expression: &str, is_right: impl Fn(&Value) -> bool) {
        let begun = Instant::now();
        loop {
            let value = self.ask(expression);
            if is_right(&value) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{expression} is {value}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Looks at the screen until the picture on it has that colour, from corner to corner.
    fn await_colour(&mut self, colour: [u8; 3]) {
        let begun = Instant::now();
        loop {
            let place = self.ask(
                "(({x, y, width, height}) => [x, y, width, height])\
                 (document.getElementById('picture').getBoundingClientRect())",
            );
            let place: Vec<f64> =
                place.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            let mut seen = Vec::new();
            if let &[x, y, width, height] = &place[..]
                && width > 100.0
            {
                let (columns, pixels) = self.screenshot();
                for (across, down) in [(0.5, 0.5), (0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)] {
                    let column = (x + width * across) as usize;
                    let row = (y + height * down) as usize;
                    seen.push(pixels.chunks(3).nth(row * columns + column).map(<[u8]>::to_vec));
                }
                let near = |pixel: &Option<Vec<u8>>| {
                    let pixel = pixel.as_ref();
                    pixel.is_some_and(|pixel| {
                        pixel.iter().zip(colour).all(|(seen, level)| seen.abs_diff(level) <= 3)
                    })
                };
                if seen.iter().all(near) {
                    return;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "no {colour:?} at {place:?}: {seen:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The width of the screen and its pixels: red, green, blue.
    fn screenshot(&mut self) -> (usize, Vec<u8>) {
        let png = self.capture();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let samples = info.color_type.samples();
        let colours = pixels.chunks(samples).flat_map(|pixel| pixel[..3].to_vec()).collect();
        (info.width as usize, colours)
    }

    fn capture(&mut self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        from_base64(shot["data"].as_str().unwrap())
    }

    /// For people, in the folder that `SHM_SCREENSHOTS` names.
    fn keep_screenshot(&mut self, what: &str) {
        let Some(folder) = std::env::var_os("SHM_SCREENSHOTS") else { return };
        let png = self.capture();
        std::fs::write(PathBuf::from(folder).join(format!("{what}.png")), png).unwrap();
    }

    /// Exceptions of the page.
    fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let id = self.sent;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        loop {
            let reply = self.messages.recv_timeout(PATIENCE);
            let reply = reply.unwrap_or_else(|error| panic!("no reply to {method}: {error}"));
            if reply["id"] == id {
                assert!(reply["error"].is_null(), "{method}: {}", reply["error"]);
                return reply["result"].clone();
            }
            if reply["method"] == "Runtime.exceptionThrown" {
                self.complaints.push(reply["params"]["exceptionDetails"].to_string());
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with its pipe; its own processes end with it.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.bytes().filter(|&byte| byte != b'=') {
        bits = bits << 6 | u32::from(value(byte));
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
