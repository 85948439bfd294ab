//! Processes that hold something until they are killed.

use shm_core::{Deadline, Stream, StreamConfig, TensorDesc};
use shm_pool::{Policy, Pool, PoolConfig, Storage, Store, Wait};
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

/// Under this name the test program finds what it is to hold, as a child.
const HOLD: &str = "SHM_CLI_TEST_HOLD";

/// A process that holds something.
pub struct Holder {
    child: Child,
}

impl Holder {
    /// Starts it, and waits until it holds `what` of the segment `name`.
    pub fn of(what: &str, name: &str) -> Holder {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::the_child_of_the_tests", "--nocapture"])
            .env(HOLD, format!("{what} {name}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut holder = Holder { child };
        if !lines.map_while(Result::ok).any(|line| line.ends_with("holding")) {
            panic!("the child does not hold {what}: {:?}", holder.child.wait());
        }
        holder
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, in whatever it is at.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child does; nothing where the test program was not started as one.
#[test]
fn the_child_of_the_tests() {
    let Ok(text) = std::env::var(HOLD) else { return };
    let (what, name) = text.rsplit_once(' ').unwrap();
    match what {
        "stream" => {
            let stream = Stream::create(name, &StreamConfig::of::<u8>(&[8]).unwrap()).unwrap();
            hold(stream);
        }
        "pool" => hold(Pool::create(name, &PoolConfig::slots(4, 256).unwrap()).unwrap()),
        "frame" => {
            let stream = Stream::open(name).unwrap();
            let mut writer = stream.writer(Deadline::NOW).unwrap();
            let mut frame = writer.loan().unwrap();
            frame.bytes_mut()[0] = 1;
            hold(frame);
        }
        "slot" => {
            let pool = Pool::open(name).unwrap();
            hold(pool.lend(100, Wait::Try, Policy::Fail).unwrap());
        }
        "slot elsewhere" => {
            let pool = Pool::<Elsewhere>::open_over(name).unwrap();
            hold(pool.lend(100, Wait::Try, Policy::Fail).unwrap());
        }
        "seat" => hold(Pool::open(name).unwrap().consumer().unwrap()),
        "entry" => {
            let store = Store::open(name).unwrap();
            let layout = [TensorDesc::new(shm_core::Dtype::U8, &[100]).unwrap()];
            hold(store.prepare_store(b"key", &layout, Wait::Try).unwrap());
        }
        what => panic!("nothing is called {what}"),
    }
}

fn hold<T>(what: T) {
    println!("\nholding");
    thread::sleep(crate::PATIENCE * 2);
    drop(what);
    panic!("nobody killed this child");
}

/// Memory that is not in shared memory, with words of its own about every slot.
#[derive(Debug)]
pub struct Elsewhere(pub usize);

impl Storage for Elsewhere {
    const ALIGNMENT: usize = 512;
    const WORKS_ON: bool = true;

    fn len(&self) -> usize {
        self.0
    }

    fn companion_len(&self, slots: usize, _seats: usize) -> usize {
        slots * 64
    }

    fn descriptor(&self) -> Vec<u8> {
        b"elsewhere".to_vec()
    }

    fn attach(_: &[u8], len: usize) -> Result<Elsewhere, Box<dyn Error + Send + Sync>> {
        Ok(Elsewhere(len))
    }
}
