//! The driver under test.

use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::{env, fs};

use libloading::Library;

use crate::rooms::Room;

/// A driver that was loaded, by its functions: each returns the code that the driver returned.
pub struct Driver {
    library: Library,
    pub is_simulated: bool,
}

pub type Code = Result<(), c_int>;
pub type Handle = [u8; 64];

/// C's way of passing a handle: by value.
#[repr(C)]
struct ByValue(Handle);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Properties {
    pub kind: c_int,
    pub handle_types: c_int,
    pub location: [c_int; 2],
    pub windows: usize,
    pub flags: [u8; 8],
}

#[repr(C)]
pub struct Access {
    pub location: [c_int; 2],
    pub flags: c_int,
}

static LOADED: OnceLock<Option<Driver>> = OnceLock::new();

/// The driver, or nothing with a word to the reader where it is not installed.
pub fn load() -> Option<&'static Driver> {
    let loaded = LOADED.get_or_init(|| {
        let real = env::var("SHM_CUDA_CONFORMANCE").is_ok_and(|value| value == "real");
        let path = if real { PathBuf::from("libcuda.so.1") } else { beside() };
        // SAFETY: the simulated driver's initialisers do nothing but what Rust's do; the real
        // one's are trusted by every program that uses it.
        let library = match unsafe { Library::new(&path) } {
            Ok(library) => library,
            Err(error) if real => {
                println!("SKIPPED: {error}");
                return None;
            }
            Err(error) => panic!("{}: {error}", path.display()),
        };
        // SAFETY: only whether the symbol is there matters.
        let is_simulated = unsafe { library.get::<fn()>(b"shm_cuda_sim_version\0") }.is_ok();
        assert_eq!(is_simulated, !real, "the driver at {} is not the one meant", path.display());
        Some(Driver { library, is_simulated })
    });
    if loaded.is_none() {
        println!("SKIPPED: there is no libcuda.so.1 here");
    }
    loaded.as_ref()
}

/// The simulated driver, for what only it defines.
pub fn simulated() -> Option<&'static Driver> {
    let driver = load().filter(|driver| driver.is_simulated);
    if driver.is_none() {
        println!("SKIPPED: only the simulated driver defines this");
    }
    driver
}

fn beside() -> PathBuf {
    let program = env::current_exe().expect("the path of this program");
    let folder = program.parent().expect("a folder");
    let here = folder.join("libshm_cuda_sim.so");
    if fs::exists(&here).unwrap_or(false) {
        return here;
    }
    folder.parent().expect("a folder").join("libshm_cuda_sim.so")
}

/// Functions that only take numbers.
macro_rules! plain {
    ($($method:ident = $symbol:literal($($argument:ident: $kind:ty),*);)*) => {
        impl Driver { $(
            pub fn $method(&self $(, $argument: $kind)*) -> Code {
                // SAFETY: the type is that of the driver's function. Numbers that are addresses
                // are checked by it, or are of rooms, which stay for ever.
                unsafe {
                    let call = self.library
                        .get::<unsafe extern "C" fn($($kind),*) -> c_int>(concat!($symbol, "\0").as_bytes())
                        .expect($symbol);
                    code(call($($argument),*))
                }
            }
        )* }
    };
}

/// Functions whose first parameter is where the answer goes.
macro_rules! giving {
    ($($method:ident = $symbol:literal($($argument:ident: $kind:ty),*) -> $out:ty;)*) => {
        impl Driver { $(
            pub fn $method(&self $(, $argument: $kind)*) -> Result<$out, c_int> {
                let mut out = MaybeUninit::<$out>::zeroed();
                // SAFETY: the type is that of the driver's function, which stores an answer that
                // fits in `out`; nil is a value of all types that are answered.
                unsafe {
                    let call = self.library
                        .get::<unsafe extern "C" fn(*mut $out $(, $kind)*) -> c_int>(concat!($symbol, "\0").as_bytes())
                        .expect($symbol);
                    code(call(out.as_mut_ptr() $(, $argument)*))?;
                    Ok(out.assume_init())
                }
            }
        )* }
    };
}

plain! {
    init = "cuInit"(flags: u32);
    primary_release = "cuDevicePrimaryCtxRelease_v2"(device: c_int);
    set_current = "cuCtxSetCurrent"(context: usize);
    push_current = "cuCtxPushCurrent_v2"(context: usize);
    context_destroy = "cuCtxDestroy_v2"(context: usize);
    context_synchronize = "cuCtxSynchronize"();
    free = "cuMemFree_v2"(address: u64);
    free_async = "cuMemFreeAsync"(address: u64, stream: usize);
    host_free = "cuMemFreeHost"(address: usize);
    host_register = "cuMemHostRegister_v2"(address: usize, bytes: usize, flags: u32);
    host_unregister = "cuMemHostUnregister"(address: usize);
    to_device_at = "cuMemcpyHtoD_v2"(to: u64, from: usize, bytes: usize);
    to_host_at = "cuMemcpyDtoH_v2"(to: usize, from: u64, bytes: usize);
    within_device = "cuMemcpyDtoD_v2"(to: u64, from: u64, bytes: usize);
    unified = "cuMemcpy"(to: u64, from: u64, bytes: usize);
    to_device_async_at = "cuMemcpyHtoDAsync_v2"(to: u64, from: usize, bytes: usize, stream: usize);
    to_host_async_at = "cuMemcpyDtoHAsync_v2"(to: usize, from: u64, bytes: usize, stream: usize);
    within_device_async = "cuMemcpyDtoDAsync_v2"(to: u64, from: u64, bytes: usize, stream: usize);
    set_d8 = "cuMemsetD8_v2"(to: u64, value: u8, count: usize);
    set_d32 = "cuMemsetD32_v2"(to: u64, value: u32, count: usize);
    set_d8_async = "cuMemsetD8Async"(to: u64, value: u8, count: usize, stream: usize);
    peer_enable = "cuCtxEnablePeerAccess"(peer: usize, flags: u32);
    peer_disable = "cuCtxDisablePeerAccess"(peer: usize);
    stream_destroy = "cuStreamDestroy_v2"(stream: usize);
    stream_synchronize = "cuStreamSynchronize"(stream: usize);
    stream_query = "cuStreamQuery"(stream: usize);
    stream_wait_event = "cuStreamWaitEvent"(stream: usize, event: usize, flags: u32);
    event_record = "cuEventRecord"(event: usize, stream: usize);
    event_query = "cuEventQuery"(event: usize);
    event_synchronize = "cuEventSynchronize"(event: usize);
    event_destroy = "cuEventDestroy_v2"(event: usize);
    write32 = "cuStreamWriteValue32"(stream: usize, address: u64, value: u32, flags: u32);
    write64 = "cuStreamWriteValue64"(stream: usize, address: u64, value: u64, flags: u32);
    wait32 = "cuStreamWaitValue32"(stream: usize, address: u64, value: u32, flags: u32);
    wait64 = "cuStreamWaitValue64"(stream: usize, address: u64, value: u64, flags: u32);
    ipc_close = "cuIpcCloseMemHandle"(address: u64);
    vmm_release = "cuMemRelease"(handle: u64);
    vmm_free = "cuMemAddressFree"(base: u64, bytes: usize);
    vmm_map = "cuMemMap"(base: u64, bytes: usize, offset: usize, handle: u64, flags: u64);
    vmm_unmap = "cuMemUnmap"(base: u64, bytes: usize);
}

giving! {
    version = "cuDriverGetVersion"() -> c_int;
    device_count = "cuDeviceGetCount"() -> c_int;
    device = "cuDeviceGet"(ordinal: c_int) -> c_int;
    device_uuid = "cuDeviceGetUuid"(device: c_int) -> [u8; 16];
    device_memory = "cuDeviceTotalMem_v2"(device: c_int) -> usize;
    device_attribute = "cuDeviceGetAttribute"(attribute: c_int, device: c_int) -> c_int;
    primary_retain = "cuDevicePrimaryCtxRetain"(device: c_int) -> usize;
    can_access_peer = "cuDeviceCanAccessPeer"(device: c_int, peer: c_int) -> c_int;
    current = "cuCtxGetCurrent"() -> usize;
    current_device = "cuCtxGetDevice"() -> c_int;
    pop_current = "cuCtxPopCurrent_v2"() -> usize;
    context_create = "cuCtxCreate_v2"(flags: u32, device: c_int) -> usize;
    allocate = "cuMemAlloc_v2"(bytes: usize) -> u64;
    allocate_managed = "cuMemAllocManaged"(bytes: usize, flags: u32) -> u64;
    allocate_async = "cuMemAllocAsync"(bytes: usize, stream: usize) -> u64;
    host_allocate = "cuMemHostAlloc"(bytes: usize, flags: u32) -> usize;
    host_device_pointer = "cuMemHostGetDevicePointer_v2"(address: usize, flags: u32) -> u64;
    stream = "cuStreamCreate"(flags: u32) -> usize;
    event = "cuEventCreate"(flags: u32) -> usize;
    elapsed = "cuEventElapsedTime"(start: usize, end: usize) -> f32;
    ipc_export = "cuIpcGetMemHandle"(address: u64) -> Handle;
    ipc_export_event = "cuIpcGetEventHandle"(event: usize) -> Handle;
    vmm_reserve = "cuMemAddressReserve"(bytes: usize, align: usize, wish: u64, flags: u64) -> u64;
    vmm_export = "cuMemExportToShareableHandle"(handle: u64, kind: c_int, flags: u64) -> c_int;
    vmm_import = "cuMemImportFromShareableHandle"(descriptor: usize, kind: c_int) -> u64;
    vmm_retain = "cuMemRetainAllocationHandle"(address: usize) -> u64;
    vmm_properties = "cuMemGetAllocationPropertiesFromHandle"(handle: u64) -> [u64; 4];
}

impl Driver {
    pub fn device_name(&self, device: c_int) -> Result<String, c_int> {
        let mut text = [0; 128];
        // SAFETY: the type is that of the driver's function; `text` has the room that is said.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(*mut u8, c_int, c_int) -> c_int>(b"cuDeviceGetName\0")
                .expect("cuDeviceGetName");
            code(call(text.as_mut_ptr(), text.len() as c_int, device))?;
        }
        Ok(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
    }

    pub fn error_name(&self, error: c_int) -> Option<String> {
        self.error_text(error, "cuGetErrorName")
    }

    pub fn error_string(&self, error: c_int) -> Option<String> {
        self.error_text(error, "cuGetErrorString")
    }

    fn error_text(&self, error: c_int, symbol: &str) -> Option<String> {
        let symbol = CString::new(symbol).expect("no nul");
        let mut text = std::ptr::null::<c_char>();
        // SAFETY: the type is that of both functions; the text they point to is for ever.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int>(
                    symbol.as_bytes_with_nul(),
                )
                .expect("an error text function");
            (call(error, &mut text) == 0)
                .then(|| std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    }

    /// The base and the size of the allocation that an address lies in.
    pub fn address_range(&self, address: u64) -> Result<(u64, usize), c_int> {
        let (mut base, mut bytes) = (0, 0);
        // SAFETY: the type is that of the driver's function; both answers have their room.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(*mut u64, *mut usize, u64) -> c_int>(
                    b"cuMemGetAddressRange_v2\0",
                )
                .expect("cuMemGetAddressRange_v2");
            code(call(&mut base, &mut bytes, address))?;
        }
        Ok((base, bytes))
    }

    /// An attribute that is a word, an int or a bool: the bytes that the driver does not store
    /// stay nil.
    pub fn attribute(&self, attribute: c_int, address: u64) -> Result<u64, c_int> {
        let mut word = 0u64;
        // SAFETY: the type is that of the driver's function; no attribute asked for is longer.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(*mut u64, c_int, u64) -> c_int>(
                    b"cuPointerGetAttribute\0",
                )
                .expect("cuPointerGetAttribute");
            code(call(&mut word, attribute, address))?;
        }
        Ok(word)
    }

    /// The memory type and the size of the allocation, asked for together.
    pub fn type_and_size(&self, address: u64) -> Result<(u32, u64), c_int> {
        let (mut kind, mut bytes) = (99u32, 99u64);
        let asked: [c_int; 2] = [2, 12];
        let outs: [*mut c_void; 2] = [(&raw mut kind).cast(), (&raw mut bytes).cast()];
        // SAFETY: the type is that of the driver's function; each answer has its room.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(u32, *const c_int, *const *mut c_void, u64) -> c_int>(
                    b"cuPointerGetAttributes\0",
                )
                .expect("cuPointerGetAttributes");
            code(call(2, asked.as_ptr(), outs.as_ptr(), address))?;
        }
        Ok((kind, bytes))
    }

    /// Whether the driver finds a function by its name.
    pub fn has_function(&self, name: &str) -> bool {
        let name = CString::new(name).expect("no nul");
        let mut found = std::ptr::null_mut::<c_void>();
        // SAFETY: the type is that of the driver's function; the name ends with a nul.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(*const c_char, *mut *mut c_void, c_int, u64) -> c_int>(
                    b"cuGetProcAddress\0",
                )
                .expect("cuGetProcAddress");
            call(name.as_ptr(), &mut found, 11_030, 0) == 0 && !found.is_null()
        }
    }

    pub fn ipc_open(&self, handle: &Handle, flags: u32) -> Result<u64, c_int> {
        let mut address = 0;
        // SAFETY: the type is that of the driver's function.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(*mut u64, ByValue, u32) -> c_int>(
                    b"cuIpcOpenMemHandle_v2\0",
                )
                .expect("cuIpcOpenMemHandle_v2");
            code(call(&mut address, ByValue(*handle), flags))?;
        }
        Ok(address)
    }

    pub fn ipc_open_event(&self, handle: &Handle) -> Result<usize, c_int> {
        let mut event = 0;
        // SAFETY: the type is that of the driver's function.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(*mut usize, ByValue) -> c_int>(
                    b"cuIpcOpenEventHandle\0",
                )
                .expect("cuIpcOpenEventHandle");
            code(call(&mut event, ByValue(*handle)))?;
        }
        Ok(event)
    }

    pub fn vmm_granularity(&self, properties: &Properties) -> Result<usize, c_int> {
        let mut bytes = 0;
        // SAFETY: the type is that of the driver's function.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(*mut usize, *const Properties, c_int) -> c_int>(
                    b"cuMemGetAllocationGranularity\0",
                )
                .expect("cuMemGetAllocationGranularity");
            code(call(&mut bytes, properties, 0))?;
        }
        Ok(bytes)
    }

    pub fn vmm_create(&self, bytes: usize, properties: &Properties) -> Result<u64, c_int> {
        let mut handle = 0;
        // SAFETY: the type is that of the driver's function.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(*mut u64, usize, *const Properties, u64) -> c_int>(
                    b"cuMemCreate\0",
                )
                .expect("cuMemCreate");
            code(call(&mut handle, bytes, properties, 0))?;
        }
        Ok(handle)
    }

    pub fn vmm_set_access(&self, base: u64, bytes: usize, flags: c_int) -> Code {
        let access = Access { location: [1, 0], flags };
        // SAFETY: the type is that of the driver's function; one description is there.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(u64, usize, *const Access, usize) -> c_int>(
                    b"cuMemSetAccess\0",
                )
                .expect("cuMemSetAccess");
            code(call(base, bytes, &access, 1))
        }
    }

    pub fn batch(&self, stream: usize, entries: &[[u64; 6]]) -> Code {
        // SAFETY: the type is that of the driver's function; the entries are as many as is said.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(usize, u32, *const [u64; 6], u32) -> c_int>(
                    b"cuStreamBatchMemOp\0",
                )
                .expect("cuStreamBatchMemOp");
            code(call(stream, entries.len() as u32, entries.as_ptr(), 0))
        }
    }

    /// Queues a call on the host.
    pub fn host_function(&self, stream: usize, function: impl FnOnce() + Send + 'static) -> Code {
        type Boxed = Box<dyn FnOnce() + Send>;
        unsafe extern "C" fn call_boxed(argument: *mut c_void) {
            // SAFETY: the argument is the box below, and the driver calls once.
            let function = unsafe { Box::from_raw(argument.cast::<Boxed>()) };
            function();
        }
        let boxed: Box<Boxed> = Box::new(Box::new(function));
        // SAFETY: the type is that of the driver's function; the box stays until it is called.
        unsafe {
            let call =
                self.library
                    .get::<unsafe extern "C" fn(
                        usize,
                        unsafe extern "C" fn(*mut c_void),
                        *mut c_void,
                    ) -> c_int>(b"cuLaunchHostFunc\0")
                    .expect("cuLaunchHostFunc");
            code(call(stream, call_boxed, Box::into_raw(boxed).cast()))
        }
    }

    pub fn to_device(&self, to: u64, from: &Room, bytes: usize) -> Code {
        self.to_device_at(to, from.at(), bytes)
    }

    pub fn to_host(&self, to: &Room, from: u64, bytes: usize) -> Code {
        self.to_host_at(to.at(), from, bytes)
    }

    /// What is on the device, after all work of the context.
    pub fn read(&self, from: u64, bytes: usize) -> Vec<u8> {
        self.fetch(from, bytes).read(bytes)
    }

    /// The value of all these bytes on the device, after all work of the context.
    pub fn uniform(&self, from: u64, bytes: usize) -> Result<u8, String> {
        self.fetch(from, bytes).uniform(bytes)
    }

    fn fetch(&self, from: u64, bytes: usize) -> Room {
        self.context_synchronize().expect("synchronise");
        let room = Room::new(bytes);
        self.to_host(&room, from, bytes).expect("copy to the host");
        room
    }

    /// Initialises it and makes the first device's primary context current on this thread.
    pub fn ready(&self) -> usize {
        self.init(0).expect("cuInit");
        let context = self.primary_retain(0).expect("retain");
        self.set_current(context).expect("set current");
        context
    }

    /// Simulated only: how late work runs.
    pub fn set_delay(&self, low: u64, high: u64) {
        // SAFETY: the type is that of the function.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(u64, u64)>(b"shm_cuda_sim_set_delay_us\0")
                .expect("the simulated driver");
            call(low, high);
        }
    }

    /// Simulated only: asks for a failure.
    pub fn inject(&self, kind: u32, after: u64) {
        // SAFETY: the type is that of the function.
        unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(u32, u64)>(b"shm_cuda_sim_inject\0")
                .expect("the simulated driver");
            call(kind, after);
        }
    }

    /// Simulated only: what it reports of this process.
    pub fn report(&self) -> serde_json::Value {
        let mut text = vec![0u8; 1 << 16];
        // SAFETY: the type is that of the function; `text` has the room that is said.
        let len = unsafe {
            let call = self
                .library
                .get::<unsafe extern "C" fn(*mut u8, usize) -> usize>(b"shm_cuda_sim_report\0")
                .expect("the simulated driver");
            call(text.as_mut_ptr(), text.len())
        };
        serde_json::from_slice(&text[..len]).expect("JSON")
    }
}

fn code(code: c_int) -> Code {
    if code == 0 { Ok(()) } else { Err(code) }
}
