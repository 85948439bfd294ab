//! A real terminal, without anybody in front of it.

use crate::scene::{Running, SOON, shm};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Both ends of a pseudo-terminal of 24 lines of 80 columns, and what its screen shows.
pub struct Terminal {
    keys: Option<File>,
    far_end: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    before: Termios,
    is_over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

impl Terminal {
    pub fn open() -> Terminal {
        let near_end =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&near_end).unwrap();
        unlockpt(&near_end).unwrap();
        let path = ptsname(&near_end, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let far_end = rustix::fs::open(&*path, flags, Mode::empty()).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&far_end, size).unwrap();
        let before = tcgetattr(&far_end).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let (keys, is_over) = (Some(File::from(near_end)), Arc::new(AtomicBool::new(false)));
        Terminal { keys, far_end, screen, before, is_over, watcher: None }
    }

    /// Runs `shm` in it.
    pub fn run(&mut self, arguments: &[&str]) -> Running {
        let end = || Stdio::from(self.far_end.try_clone().unwrap());
        let mut command: Command = shm(arguments);
        command.env("TERM", "xterm-256color").stdin(end()).stderr(end()).stdout(end());
        let running = Running::in_terminal(&mut command);
        self.watch();
        running
    }

    /// Keeps the screen up to date, until the terminal is closed.
    fn watch(&mut self) {
        let mut output = self.keys.as_ref().unwrap().try_clone().unwrap();
        let (screen, is_over) = (self.screen.clone(), self.is_over.clone());
        let nap = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        self.watcher = Some(thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !is_over.load(Ordering::Relaxed) {
                let mut asked = [PollFd::new(&output, PollFlags::IN)];
                if !matches!(poll(&mut asked, Some(&nap)), Ok(1..)) {
                    continue;
                }
                let Ok(count @ 1..) = output.read(&mut bytes) else { return };
                screen.lock().unwrap().process(&bytes[..count]);
            }
        }));
    }

    /// Closes the terminal under whatever runs in it.
    pub fn hang_up(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.keys = None;
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen is as wanted, and returns its text.
    pub fn until(&self, wanted: impl Fn(&vt100::Screen) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = {
                let parser = self.screen.lock().unwrap();
                let text = parser.screen().contents();
                if wanted(parser.screen()) {
                    return text;
                }
                text
            };
            assert!(begun.elapsed() < SOON, "not that for a minute:\n{text}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the screen shows all of that.
    pub fn shows(&self, texts: &[&str]) -> String {
        self.until(|screen| texts.iter().all(|text| screen.contents().contains(text)))
    }

    /// True while keys go to the program one by one, unechoed.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.far_end).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits until the terminal is as it was before anything ran in it.
    pub fn is_restored(&self) {
        self.until(|screen| !screen.alternate_screen() && !screen.hide_cursor());
        let now = tcgetattr(&self.far_end).unwrap();
        assert_eq!(now.local_modes, self.before.local_modes);
        assert_eq!(now.input_modes, self.before.input_modes);
        assert_eq!(now.output_modes, self.before.output_modes);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.hang_up();
    }
}
