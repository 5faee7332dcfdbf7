//! Hugepages for as long as a bench runs: more 2 MiB pages, a hugetlbfs mount of its own, and both taken back.

use anyhow::{Context, Result, ensure};
use lab::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const FREE_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
/// Where DPDK keeps the other files of a process.
const RUNTIME: &str = "/var/run/dpdk";
/// MiB in a page.
const PAGE_MIB: u32 = 2;

/// Reserved hugepages and where they are mounted; dropped, all is as it was before.
#[derive(Debug)]
pub(crate) struct Hugepages {
    /// Pages added to those there were.
    added: u64,
    /// Where they are mounted for this run, whatever becomes of other mounts meanwhile.
    mounted: Option<PathBuf>,
    file_prefix: String,
}

impl Hugepages {
    /// Sees to it that `mib` MiB are free in 2 MiB pages, and mounts them in /run. The files that DPDK leaves there under
    /// prefixes that begin with `file_prefix` are removed at the end.
    pub(crate) fn reserve(mib: u32, file_prefix: &str) -> Result<Self> {
        let file_prefix = file_prefix.to_owned();
        let mut reserved = Self { added: 0, mounted: None, file_prefix };
        let needed = u64::from(mib.div_ceil(PAGE_MIB));
        let (total, free) = (read_number(PAGES)?, read_number(FREE_PAGES)?);
        if free < needed {
            write_number(PAGES, total + needed - free)?;
            // The kernel may have made fewer, and says so only here.
            reserved.added = read_number(PAGES)?.saturating_sub(total);
            let free = read_number(FREE_PAGES)?;
            ensure!(
                free >= needed,
                "{needed} free hugepages of 2 MiB are needed, the kernel could make {free}: free some memory, \
                 or give a smaller --store-mib"
            );
        }
        let directory = Path::new("/run").join(format!("{}hugepages", reserved.file_prefix));
        fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
        run(Command::new("mount").args(["-t", "hugetlbfs", "-o", "pagesize=2M", "none"]).arg(&directory))?;
        reserved.mounted = Some(directory);
        Ok(reserved)
    }

    /// Removes the files that DPDK processes of this run left, which hold their pages. For when none runs.
    pub(crate) fn remove_leftovers(&self) -> Result<()> {
        remove_files(|prefix| prefix.starts_with(&self.file_prefix))
    }

    /// Removes the files that a process which has ended left under this prefix.
    pub(crate) fn remove_files_of(&self, ended: &str) -> Result<()> {
        remove_files(|prefix| prefix == ended)
    }

    fn give_back(&self) -> Result<()> {
        self.remove_leftovers()?;
        if let Some(directory) = &self.mounted {
            run(Command::new("umount").arg(directory))?;
            fs::remove_dir(directory).with_context(|| format!("removing {}", directory.display()))?;
        }
        if self.added > 0 {
            // Less what was added, not the number from before: somebody else may have changed it meanwhile.
            write_number(PAGES, read_number(PAGES)?.saturating_sub(self.added))?;
        }
        Ok(())
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            eprintln!("giving the hugepages back: {error:#}");
        }
    }
}

/// Removes the hugepages and the runtime directory of the file prefixes for which `is_ours`.
fn remove_files(is_ours: impl Fn(&str) -> bool) -> Result<()> {
    for mount in mounts()? {
        for path in entries(&mount)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.rsplit_once("map_").is_some_and(|(prefix, _)| is_ours(prefix)) {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
    }
    for path in entries(Path::new(RUNTIME))? {
        if is_ours(&path.file_name().unwrap_or_default().to_string_lossy()) {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// What is in a directory; nothing if it is not there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let failed = || format!("reading {}", directory.display());
    let entries = fs::read_dir(directory).with_context(failed)?;
    entries.map(|entry| Ok(entry.with_context(failed)?.path())).collect()
}

/// Where hugetlbfs with 2 MiB pages is mounted.
fn mounts() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    Ok(mounts_of_2_mib_pages(&mounts))
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
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    text.trim().parse().with_context(|| format!("{path} says {text:?}"))
}

fn write_number(path: &str, number: u64) -> Result<()> {
    fs::write(path, number.to_string()).with_context(|| format!("writing {number} to {path}"))
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
