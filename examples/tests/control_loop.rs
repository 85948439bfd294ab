//! The loop answers what sensors measure, and tells a stopped sensor from a dead one.

#[allow(dead_code, reason = "each test uses a part")]
mod program;

use program::{Name, PATIENCE, Program, number};
use rustix::process::Signal;
use shm_core::{ReadError, Reader};
use std::time::Instant;

const SENSOR: &str = env!("CARGO_BIN_EXE_sensor");
const CONTROL: &str = env!("CARGO_BIN_EXE_control");

#[test]
fn commands_follow_the_sensors_and_cease_with_any_of_them() {
    let name = Name::new("control");
    let [first, second, command] =
        ["first", "second", "command"].map(|part| format!("{}-{part}", name.as_str()));
    let sensor = |name: &str, level: &str| {
        Program::start(SENSOR, &[name, "--level", level, "--swing", "0", "--rate", "100"])
    };
    let one = sensor(&first, "3");
    let two = sensor(&second, "-1");
    // Patient, so that a busy machine is not taken for a silent sensor.
    let flags = ["--patience", "5000", "--seconds", "300", "--gain", "0.5"];
    let mut control = Program::start(
        CONTROL,
        &[&[first.as_str(), &second, "--command", &command], &flags[..]].concat(),
    );
    let mut commands = Reader::open_within(&command, PATIENCE).expect("the loop makes it");
    // The mean of 3 and -1, times minus 0.5.
    until(&mut commands, -0.5);

    one.signal(Signal::STOP);
    control.hear("first is silent");
    until(&mut commands, 0.0);
    one.signal(Signal::CONT);
    control.hear("first is fresh");
    until(&mut commands, -0.5);

    two.kill();
    control.hear("second is dead");
    until(&mut commands, 0.0);
    let two = sensor(&second, "1");
    control.hear("second is fresh");
    // The readings from before the kill fall out of the mean: 3 and 1, times minus 0.5.
    until(&mut commands, -1.0);

    two.interrupt();
    two.finish();
    control.hear("second is absent");
    control.interrupt();
    let said = control.finish();
    let ticks = number(said.last().expect("it says how many"), "ticks");
    assert_eq!(ticks, commands.count());
    one.interrupt();
    one.finish();
    assert_eq!(name.segments(), [""; 0]);
}

/// Waits for a command that is `value` on all axes.
fn until(commands: &mut Reader, value: f32) {
    let deadline = Instant::now() + PATIENCE;
    let mut last = Vec::new();
    while last != [value; 3] {
        last = match commands.read_new::<f32>(deadline) {
            Ok(frame) => frame.data,
            Err(ReadError::Timeout { .. }) => panic!("no command {value}, the last is {last:?}"),
            Err(error) => panic!("{error}"),
        };
        assert!(Instant::now() < deadline, "no command {value}, the last is {last:?}");
    }
}
