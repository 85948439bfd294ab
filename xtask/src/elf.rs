//! What a program or a library says of itself to the dynamic linker.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol};

/// A file in ELF.
pub struct Elf {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Elf {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// The symbols that other libraries of a process see.
    pub fn exports(&self) -> Result<Vec<String>> {
        let file = self.parse()?;
        let exported = file.dynamic_symbols().filter(|symbol| symbol.is_definition());
        let names = exported.filter_map(|symbol| symbol.name().ok());
        Ok(names.map(str::to_owned).collect())
    }

    /// The newest version of the C library that a symbol is asked for in, if any is.
    pub fn newest_glibc(&self) -> Result<Option<GlibcVersion>> {
        let file = self.parse()?;
        let (endian, data) = (file.endian(), file.data());
        let versions = file.elf_section_table().versions(endian, data);
        let Some(versions) = versions.with_context(|| self.unreadable())? else { return Ok(None) };
        let mut newest = None;
        for symbol in file.dynamic_symbols() {
            let index = versions.version_index(endian, symbol.index());
            let version = versions.version(index).with_context(|| self.unreadable())?;
            let version = version.and_then(|version| GlibcVersion::parse(version.name()));
            newest = newest.max(version);
        }
        Ok(newest)
    }

    fn parse(&self) -> Result<ElfFile64<'_, Endianness>> {
        ElfFile64::parse(self.bytes.as_slice()).with_context(|| self.unreadable())
    }

    fn unreadable(&self) -> String {
        format!("{} does not read as a program or library of this machine", self.path.display())
    }
}

/// A version of the C library, such as 2.34.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlibcVersion(Vec<u32>);

impl GlibcVersion {
    fn parse(name: &[u8]) -> Option<Self> {
        let numbers = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
        numbers.split('.').map(|number| number.parse().ok()).collect::<Option<_>>().map(Self)
    }
}

impl PartialOrd for GlibcVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for GlibcVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl std::fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |name: &str| GlibcVersion::parse(name.as_bytes());
        assert!(version("GLIBC_2.34") > version("GLIBC_2.4"));
        assert!(version("GLIBC_2.2.5") < version("GLIBC_2.3"));
        assert_eq!(version("GLIBC_PRIVATE"), None);
        assert_eq!(version("GCC_3.0"), None);
        assert_eq!(version("GLIBC_2.2.5").unwrap().to_string(), "2.2.5");
    }

    #[test]
    fn this_very_program_needs_a_c_library_and_exports_nothing() {
        let program = Elf::read(&std::env::current_exe().unwrap()).unwrap();
        assert!(program.newest_glibc().unwrap() >= GlibcVersion::parse(b"GLIBC_2.2.5"));
        let exports = program.exports().unwrap();
        assert!(!exports.iter().any(|name| name.starts_with("cu")), "{exports:?}");
    }

    #[test]
    fn what_is_no_program_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "text").unwrap();
        let error = Elf::read(file.path()).unwrap().exports().unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
