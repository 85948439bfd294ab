//! What the environment says, read once.

use std::env;
use std::path::PathBuf;
use std::sync::LazyLock;

pub static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::read);

pub struct Settings {
    pub devices: u32,
    pub memory_bytes: u64,
    pub delay_us: (u64, u64),
    pub memops: bool,
    pub visible: Option<String>,
    pub report: Option<PathBuf>,
    pub inject: String,
    pub log: bool,
}

impl Settings {
    fn read() -> Self {
        Self {
            devices: number("SHM_CUDA_SIM_DEVICES").unwrap_or(2).min(64) as u32,
            memory_bytes: number("SHM_CUDA_SIM_MEMORY_MB").unwrap_or(1024) << 20,
            delay_us: text("SHM_CUDA_SIM_DELAY_US").and_then(|it| range(&it)).unwrap_or((0, 200)),
            memops: !is_on("SHM_CUDA_SIM_NO_MEMOPS"),
            visible: text("CUDA_VISIBLE_DEVICES"),
            report: env::var_os("SHM_CUDA_SIM_REPORT").map(PathBuf::from),
            inject: text("SHM_CUDA_SIM_INJECT").unwrap_or_default(),
            log: is_on("SHM_CUDA_SIM_LOG"),
        }
    }
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    text(name)?.trim().parse().ok()
}

fn is_on(name: &str) -> bool {
    text(name).is_some_and(|value| value == "1")
}

fn range(text: &str) -> Option<(u64, u64)> {
    let (low, high) = text.trim().split_once('-')?;
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then_some((low, high))
}
