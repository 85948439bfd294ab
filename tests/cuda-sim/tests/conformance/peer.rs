//! Other processes: this program again, in a role.

use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, io};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::loaded::Handle;
use crate::roles;

const ROLE: &str = "SHM_CUDA_CONFORMANCE_ROLE";
const MARK: &str = "peer says: ";

/// A process in a role, with a line each way.
pub struct Peer {
    child: Child,
    orders: UnixStream,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    pub fn start(role: &str) -> Self {
        Self::start_in(role, &[])
    }

    pub fn start_in(role: &str, environment: &[(&str, &str)]) -> Self {
        let (orders, theirs) = UnixStream::pair().expect("a socket pair");
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "peer::plays_its_role", "--nocapture"])
            .env(ROLE, role)
            .envs(environment.iter().copied())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a process");
        let answers = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, orders, answers }
    }

    /// Runs a role that needs nobody, and expects it to end well.
    pub fn alone(role: &str, environment: &[(&str, &str)]) {
        Self::start_in(role, environment).finish();
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.orders, "{line}").expect("tell");
    }

    /// The next line that it says.
    pub fn hear(&mut self) -> String {
        for line in self.answers.by_ref().lines() {
            let line = line.expect("its output");
            if let Some((_, said)) = line.split_once(MARK) {
                return said.to_owned();
            }
        }
        panic!("the other process ended without an answer");
    }

    pub fn hand(&mut self, descriptor: BorrowedFd<'_>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let text = [IoSlice::new(b"\n")];
        sendmsg(self.orders.as_fd(), &text, &mut control, SendFlags::empty()).expect("hand over");
    }

    /// Kills it, as a crash would end it.
    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, which must be a good one.
    pub fn finish(mut self) {
        drop(self.orders);
        let mut rest = String::new();
        self.answers.read_to_string(&mut rest).expect("its output");
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{status}\n{rest}");
    }
}

#[test]
#[ignore = "runs only as another test's process"]
fn plays_its_role() {
    if let Ok(role) = env::var(ROLE) {
        roles::play(&role);
    }
}

/// Says a line to the process that started this one.
pub fn say(line: &str) {
    println!("{MARK}{line}");
    io::stdout().flush().expect("say");
}

/// The next line from the process that started this one; `None` when it has no more to say.
pub fn listen() -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match rustix::io::read(io::stdin().as_fd(), &mut byte) {
            Ok(1) if byte[0] == b'\n' => return String::from_utf8(line).ok(),
            Ok(1) => line.push(byte[0]),
            _ => return None,
        }
    }
}

/// A descriptor from the process that started this one.
pub fn take() -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut text = [IoSliceMut::new(&mut byte)];
    recvmsg(io::stdin().as_fd(), &mut text, &mut control, RecvFlags::CMSG_CLOEXEC)
        .expect("take a descriptor");
    let mut taken = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    taken.next().expect("a descriptor")
}

pub fn as_text(handle: &Handle) -> String {
    handle.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn as_handle(text: &str) -> Handle {
    let mut handle = [0; 64];
    for (index, byte) in handle.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).expect("hex digits");
    }
    handle
}
