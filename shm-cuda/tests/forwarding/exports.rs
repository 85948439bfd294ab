//! What this very program shows to other libraries of its process: nothing of the driver's.

use object::{Object, ObjectSymbol};

#[test]
fn no_function_of_the_driver_is_exported_or_asked_for() {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let program = object::File::parse(&*bytes).unwrap();
    let names: Vec<&str> =
        program.dynamic_symbols().filter_map(|symbol| symbol.name().ok()).collect();
    assert!(names.iter().any(|name| name.starts_with("dlsym")), "is this the table? {names:?}");
    let of_the_driver: Vec<&&str> = names.iter().filter(|name| is_of_the_driver(name)).collect();
    assert!(of_the_driver.is_empty(), "{of_the_driver:?}");
}

/// `cuMemAlloc_v2`, and not `curl_easy_init`.
fn is_of_the_driver(name: &str) -> bool {
    name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
        || name.starts_with("shm_cuda")
}

#[test]
fn the_program_needs_no_library_of_cuda() {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let program = object::read::elf::ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
    let needed = needed(&program);
    assert!(needed.iter().any(|name| name.starts_with("libc.so")), "{needed:?}");
    assert!(!needed.iter().any(|name| name.contains("cuda")), "{needed:?}");
}

fn needed(program: &object::read::elf::ElfFile64<'_, object::Endianness>) -> Vec<String> {
    let table = program.elf_dynamic_table().unwrap();
    let needed = table.iter().filter(|entry| entry.tag == object::elf::DT_NEEDED);
    needed.map(|entry| String::from_utf8_lossy(table.string(entry).unwrap()).into_owned()).collect()
}
