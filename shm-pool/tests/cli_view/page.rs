//! The live page, asked for by plain sockets.

#[cfg(target_os = "linux")]
use super::kill;
use super::{PATIENCE, Pixels, Published, decoded, name, shm, stderr};
use serde_json::Value;
use shm_core::{Deadline, Dtype, FrameTag, Stream, StreamConfig};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// `shm view --http`, and where it listens.
struct Page {
    child: Child,
    address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

impl Page {
    fn of(stream: &str) -> Page {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shm"))
            .args(["view", stream, "--http", "127.0.0.1:0", "--seconds", "10m"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on http://").unwrap().split_once('/').unwrap().0;
        Page { child, address: address.parse().unwrap(), _stdout: stdout }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, host: &str) -> Answer {
        let mut stream = self.connect();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
            .unwrap();
        Answer::read(stream)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &self.address.to_string())
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&self.get("/status.json").body).unwrap()
    }

    /// Asks until the state is that one.
    fn await_state(&self, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if status["state"] == state {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "not {state}: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(mut stream: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn header(&self, field: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(name, _)| name.eq_ignore_ascii_case(field));
        found.next().unwrap_or_else(|| panic!("no {field} in {}", self.head)).1
    }

    fn pixels(&self) -> Pixels {
        decoded(std::io::Cursor::new(&self.body))
    }
}

#[test]
fn the_page_has_the_frames_that_are_published() {
    let pixels: Vec<u8> = (0..48).collect();
    let mut stream = Published::of("page", &[4, 4, 3], &pixels);
    let page = Page::of(stream.name());
    let frame = page.get("/frame.png");
    assert_eq!((frame.status, frame.header("X-Frame-Count")), (200, "1"));
    assert_eq!(
        (frame.header("Content-Type"), frame.header("Cache-Control")),
        ("image/png", "no-store")
    );
    assert!(frame.header("X-Frame-Age-Us").parse::<u64>().unwrap() > 0);
    assert_eq!(frame.pixels(), (4, 4, 3, pixels.clone()));

    // Somebody waits for the next one; others are answered meanwhile.
    let mut waiting = page.connect();
    write!(
        waiting,
        "GET /frame.png?after=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let status = page.status();
    assert_eq!(status["name"], stream.name());
    assert_eq!((&status["count"], &status["dtype"]), (&1.into(), &"uint8".into()));
    assert_eq!(status["writer_alive"], true);
    let later: Vec<u8> = pixels.iter().map(|level| 255 - level).collect();
    stream.writer.publish_tagged(&later, FrameTag::id(77)).unwrap();
    let frame = Answer::read(waiting);
    assert_eq!((frame.header("X-Frame-Count"), frame.header("X-Frame-Id")), ("2", "77"));
    assert_eq!(frame.pixels(), (4, 4, 3, later));

    let none = page.get("/frame.png?after=2");
    assert_eq!((none.status, none.body.len()), (204, 0));
}

#[test]
fn only_what_should_be_is_answered() {
    let stream = Published::of("routes", &[2, 2], &[1_u8; 4]);
    let page = Page::of(stream.name());
    let html = page.get("/");
    assert!(html.header("Content-Type").starts_with("text/html"));
    assert!(html.header("Content-Security-Policy").contains("default-src 'none'"));
    let text = String::from_utf8(html.body).unwrap();
    assert!(text.contains("<canvas") && !text.contains("https://") && !text.contains("http://"));
    let host = page.address.to_string();
    let head = page.ask("HEAD", "/frame.png", &host);
    assert_eq!((head.status, head.body.len(), head.header("X-Frame-Count")), (200, 0, "1"));
    let post = page.ask("POST", "/", &host);
    assert_eq!((post.status, post.header("Allow")), (405, "GET, HEAD"));
    for path in ["/etc/passwd", "/../x", "/frame.png/", "//"] {
        assert_eq!(page.get(path).status, 404, "{path}");
    }
    assert_eq!(page.get("/frame.png?after=first").status, 400);
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""] {
        let refused = page.ask("GET", "/frame.png", host);
        assert_eq!(refused.status, 421, "{host}");
        assert!(refused.header("Content-Type").starts_with("text/plain"));
    }
    for host in ["localhost", "localhost:1", "[::1]:8080"] {
        assert_eq!(page.ask("GET", "/frame.png", host).status, 200, "{host}");
    }
}

#[test]
fn others_than_this_machine_are_not_served() {
    let stream = Published::of("open", &[2, 2], &[1_u8; 4]);
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let output = shm(&["view", stream.name(), "--http", address]);
        assert_eq!(output.status.code(), Some(2), "{address}");
        assert!(stderr(&output).contains("no password"), "{}", stderr(&output));
    }
}

#[test]
fn clients_that_do_nothing_disturb_nobody() {
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(3000 * 2000)
    .collect();
    let stream = Published::of("crowd", &[3000, 2000], &noise);
    let page = Page::of(stream.name());
    let idle: Vec<TcpStream> = (0..32).map(|_| page.connect()).collect();
    assert_eq!(page.status()["count"], 1);
    // Requests half sent, requests that wait, bodies that never come, answers that nobody takes.
    let mut stuck = Vec::new();
    let polls = "GET /frame.png?after=9 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2)
        + "GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for request in [
        "GET / HT",
        &polls,
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n",
        "GET /frame.png HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        for _ in 0..10 {
            let mut client = page.connect();
            client.write_all(request.as_bytes()).unwrap();
            stuck.push(client);
        }
    }
    assert_eq!(page.status()["count"], 1);
    assert_eq!(page.get("/").status, 200);
    assert_eq!(page.get("/frame.png").pixels(), (2000, 3000, 1, noise));
    drop((idle, stuck));
}

#[cfg(target_os = "linux")]
#[test]
fn the_page_ends_cleanly_when_told() {
    let stream = Published::of("end", &[2, 2], &[1_u8; 4]);
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut page = Page::of(stream.name());
        let mut client = page.connect();
        // One that is never complete must not hold it up.
        write!(client, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n")
            .unwrap();
        kill(&page.child, signal);
        assert_eq!(page.child.wait().unwrap().code(), Some(0));
    }
    let output = shm(&["view", stream.name(), "--http", "[::1]:0", "--seconds", "10ms", "--json"]);
    if output.status.code() == Some(6) {
        return println!("SKIPPED the last part: no IPv6 on this machine");
    }
    assert_eq!(output.status.code(), Some(0));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["listening"].as_str().unwrap().starts_with("http://[::1]:"), "{told}");
}

#[test]
fn a_killed_writer_is_told_and_so_is_a_stream_that_goes_and_comes_back() {
    const ROLE: &str = "SHM_TEST_PUBLISHES";
    if let Ok(stream) = std::env::var(ROLE) {
        publish_until_killed(&stream);
    }
    let config = StreamConfig::new(Dtype::U8, &[2, 2]).unwrap();
    let stream = Stream::create(&name("killed"), &config).unwrap();
    let page = Page::of(stream.name());
    assert_eq!(page.status()["state"], "waiting");
    let mut publisher = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "page::a_killed_writer_is_told_and_so_is_a_stream_that_goes_and_comes_back",
        ])
        .env(ROLE, stream.name())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let live = page.await_state("live");
    assert!(live["count"].as_u64().unwrap() > 0);
    publisher.kill().unwrap();
    publisher.wait().unwrap();
    let died = page.await_state("writer_died");
    assert_eq!(died["writer_alive"], false);
    assert!(died["words"].as_str().unwrap().contains("died"), "{died}");

    stream.unlink().unwrap();
    let gone = page.await_state("gone");
    assert_eq!(page.get("/frame.png").pixels().3, [7; 4], "the last frame stays");
    let mut again = Published::of("killed", &[1, 2], &[5_u8, 6]);
    let back = page.await_state("live");
    assert_ne!(back["stream"], gone["stream"]);
    assert_eq!(back["shape"], serde_json::json!([1, 2]));
    // A count of the old stream says nothing of the new one.
    let old = format!("/frame.png?after=99999&stream={}", gone["stream"].as_str().unwrap());
    assert_eq!(page.get(&old).pixels().3, [5, 6]);
    again.writer.publish(&[8_u8, 9]).unwrap();
    assert_eq!(page.get("/frame.png?after=1").pixels().3, [8, 9]);
}

fn publish_until_killed(stream: &str) -> ! {
    let mut writer = Stream::open(stream).unwrap().writer(Deadline::NOW).unwrap();
    let end = Instant::now() + 2 * PATIENCE;
    while Instant::now() < end {
        writer.publish(&[7_u8; 4]).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    std::process::exit(1);
}
