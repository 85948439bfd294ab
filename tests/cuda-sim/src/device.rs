//! The devices of the machine, as far as this process may see them.

use std::ffi::{CString, c_int};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::settings::{SETTINGS, Settings};

/// One simulated device.
pub struct Device {
    /// Its number on the machine, which `CUDA_VISIBLE_DEVICES` does not change.
    pub physical: u32,
    pub name: CString,
    pub uuid: [u8; 16],
    pub memory: u64,
    pub used: Arc<AtomicU64>,
    /// The handle of its primary context, the same after every retain.
    pub primary: usize,
}

impl Device {
    /// The devices in the order this process sees them.
    pub fn visible(settings: &Settings) -> Vec<Self> {
        let order: Vec<u32> = match &settings.visible {
            None => (0..settings.devices).collect(),
            Some(list) => chosen(list, settings.devices),
        };
        let boot = boot_id();
        order.into_iter().map(|physical| Self::new(physical, &boot, settings)).collect()
    }

    fn new(physical: u32, boot: &[u8; 16], settings: &Settings) -> Self {
        let name = format!("sim {physical} (simulated, no GPU)");
        Self {
            physical,
            name: CString::new(name).unwrap_or_default(),
            uuid: uuid(boot, physical),
            memory: settings.memory_bytes,
            used: Arc::default(),
            primary: 0x51C0_0000_0000 + 16 * (physical as usize + 1),
        }
    }

    pub fn pci_bus_id(&self) -> String {
        format!("0000:{:02X}:00.0", self.physical + 1)
    }

    /// A device attribute, or `None` if there is none of that number.
    pub fn attribute(&self, attribute: c_int) -> Option<c_int> {
        let memops = c_int::from(SETTINGS.memops);
        let known = match attribute {
            1..=3 => 1024,
            4 => 64,
            5 | 6 => 65_535,
            8 => 48 << 10,
            9 => 64 << 10,
            10 => 32,
            11 => c_int::MAX,
            12 => 64 << 10,
            13 => 1_000_000,
            14 => 512,
            15 | 16 => 1,
            // Maps host memory; concurrent kernels; overlaps copies; unified addresses.
            19 | 31 | 41 => 1,
            33 => self.physical as c_int + 1,
            40 => 2,
            75 => 8,
            // Stream priorities; managed memory; host pointers of registered memory as they are.
            78 | 83 | 91 => 1,
            92..=94 | 122 | 123 => memops,
            // Host registration; VMM; descriptors; memory pools; events between processes.
            99 | 102 | 103 | 115 | 125 => 1,
            7 | 17 | 18 | 20..=30 | 32 | 34..=39 | 42..=74 | 76 | 77 | 79..=82 | 84..=90 => 0,
            95..=98 | 100 | 101 | 104..=114 | 116..=121 | 124 | 126..=134 => 0,
            _ => return None,
        };
        Some(known)
    }
}

/// Numbers or `GPU-` UUIDs; as in the real driver the list ends at the first unknown one.
fn chosen(list: &str, devices: u32) -> Vec<u32> {
    let boot = boot_id();
    let mut order = Vec::new();
    for entry in list.split(',').map(str::trim) {
        let found = (0..devices).find(|number| {
            entry.parse() == Ok(*number)
                || entry.len() > 4 && uuid_text(&uuid(&boot, *number)).starts_with(entry)
        });
        match found {
            Some(number) if !order.contains(&number) => order.push(number),
            _ => break,
        }
    }
    order
}

fn uuid(boot: &[u8; 16], physical: u32) -> [u8; 16] {
    let mut uuid = *boot;
    uuid[..3].copy_from_slice(b"sim");
    uuid[15] = uuid[15].wrapping_add(physical as u8);
    uuid
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The machine's since it started, so that all its processes agree and no other machine does.
fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> =
        text.chars().filter_map(|it| it.to_digit(16)).map(|it| it as u8).collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    id
}
