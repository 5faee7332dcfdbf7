//! Hugepages for a run: more 2 MiB pages and a hugetlbfs mount, both taken back.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Result, run};

const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const FREE_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
/// DPDK's directory for the other files of a process.
const RUNTIME: &str = "/var/run/dpdk";
/// MiB in a page.
const PAGE_MIB: u32 = 2;

/// Reserved hugepages and their mount. Dropped, both are as before.
#[derive(Debug)]
pub struct Hugepages {
    /// Pages added to those already reserved.
    added: u64,
    /// A mount of our own: other mounts may go meanwhile.
    mounted: Option<PathBuf>,
    file_prefix: String,
}

impl Hugepages {
    /// Makes `mib` MiB free in 2 MiB pages and mounts them in /run. Files of DPDK processes whose prefixes begin with
    /// `file_prefix` are removed at the end.
    ///
    /// # Errors
    /// If the kernel cannot make that many pages, or the mount fails.
    pub fn reserve(mib: u32, file_prefix: &str) -> Result<Self> {
        let file_prefix = file_prefix.to_owned();
        let mut reserved = Self { added: 0, mounted: None, file_prefix };
        let needed = u64::from(mib.div_ceil(PAGE_MIB));
        let (total, free) = (read_number(PAGES)?, read_number(FREE_PAGES)?);
        if free < needed {
            write_number(PAGES, total + needed - free)?;
            // The kernel reports only here that it made fewer.
            reserved.added = read_number(PAGES)?.saturating_sub(total);
            let free = read_number(FREE_PAGES)?;
            if free < needed {
                return Err(Error::new(format!(
                    "{needed} free hugepages of 2 MiB are needed, the kernel could make {free}: free some memory"
                )));
            }
        }
        let directory = Path::new("/run").join(format!("{}hugepages", reserved.file_prefix));
        fs::create_dir_all(&directory).map_err(|error| failed("making", &directory, &error))?;
        run(Command::new("mount").args(["-t", "hugetlbfs", "-o", "pagesize=2M", "none"]).arg(&directory))?;
        reserved.mounted = Some(directory);
        Ok(reserved)
    }

    /// Removes the files that ended DPDK processes of this run left; they hold pages. Call it while none runs.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn remove_leftovers(&self) -> Result<()> {
        remove_files(|prefix| prefix.starts_with(&self.file_prefix))
    }

    /// Removes the files that an ended process left under the prefix `ended`.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn remove_files_of(&self, ended: &str) -> Result<()> {
        remove_files(|prefix| prefix == ended)
    }

    fn give_back(&self) -> Result<()> {
        self.remove_leftovers()?;
        if let Some(directory) = &self.mounted {
            run(Command::new("umount").arg(directory))?;
            fs::remove_dir(directory).map_err(|error| failed("removing", directory, &error))?;
        }
        if self.added > 0 {
            // Subtracts instead of restoring the old number: another process may have changed it meanwhile.
            write_number(PAGES, read_number(PAGES)?.saturating_sub(self.added))?;
        }
        Ok(())
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            eprintln!("giving the hugepages back: {error}");
        }
    }
}

/// Removes hugepages and runtime directories of the file prefixes for which `is_ours` is true.
fn remove_files(is_ours: impl Fn(&str) -> bool) -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts")
        .map_err(|error| failed("reading", Path::new("/proc/mounts"), &error))?;
    for mount in mounts_of_2_mib_pages(&mounts) {
        for path in entries(&mount)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.rsplit_once("map_").is_some_and(|(prefix, _)| is_ours(prefix)) {
                fs::remove_file(&path).map_err(|error| failed("removing", &path, &error))?;
            }
        }
    }
    for path in entries(Path::new(RUNTIME))? {
        if is_ours(&path.file_name().unwrap_or_default().to_string_lossy()) {
            fs::remove_dir_all(&path).map_err(|error| failed("removing", &path, &error))?;
        }
    }
    Ok(())
}

/// The paths in a directory; none if it does not exist.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(directory).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let entries = entries.map_err(|error| failed("reading", directory, &error))?;
    Ok(entries.into_iter().map(|entry| entry.path()).collect())
}

/// The mount points of hugetlbfs with 2 MiB pages in the text of /proc/mounts.
fn mounts_of_2_mib_pages(mounts: &str) -> Vec<PathBuf> {
    let mount = |line: &str| {
        let mut fields = line.split(' ');
        let (_, mount, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let fits = kind == "hugetlbfs" && options.split(',').any(|option| option == "pagesize=2M");
        fits.then(|| PathBuf::from(mount))
    };
    mounts.lines().filter_map(mount).collect()
}

fn read_number(path: &str) -> Result<u64> {
    let text = fs::read_to_string(path).map_err(|error| failed("reading", Path::new(path), &error))?;
    text.trim().parse().map_err(|_| Error::new(format!("{path} contains {text:?}, which is no number")))
}

fn write_number(path: &str, number: u64) -> Result<()> {
    fs::write(path, number.to_string())
        .map_err(|error| Error::new(format!("writing {number} to {path}: {error}")))
}

fn failed(what: &str, path: &Path, error: &dyn Display) -> Error {
    Error::new(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mount_of_the_right_page_size_counts() {
        let proc = "proc /proc proc rw 0 0\n";
        let huge = "none /mnt/huge1g hugetlbfs rw,relatime,pagesize=1024M 0 0\n";
        let right = "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n";
        assert!(mounts_of_2_mib_pages(&format!("{proc}{huge}")).is_empty());
        assert_eq!(mounts_of_2_mib_pages(&format!("{proc}{right}{huge}")), [PathBuf::from("/dev/hugepages")]);
    }
}
