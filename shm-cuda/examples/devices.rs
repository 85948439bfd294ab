//! Lists the devices that this process sees, or says why there are none.

use shm_cuda::{Device, Driver};

fn main() {
    match list() {
        Ok(()) => {}
        Err(error) => println!("{error}"),
    }
}

fn list() -> Result<(), Box<dyn std::error::Error>> {
    let driver = Driver::load()?;
    let kind = if driver.is_simulated() { " (simulated)" } else { "" };
    println!("CUDA {}{kind} from {}", driver.version(), driver.path().display());
    for ordinal in 0..Device::count()? {
        let device = Device::open(ordinal)?;
        println!("cuda:{ordinal}  {}  {}  {:?}", device.name(), device.uuid(), device.memory()?);
    }
    Ok(())
}
