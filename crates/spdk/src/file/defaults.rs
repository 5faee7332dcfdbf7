//! The choices that the options of a file bdev leave open, made from the file and the disk beneath it.

use std::path::Path;

use super::options::{FileBdevOptions, SyncMode};
use crate::block_device::{DeviceNumber, Kernel, Queue};

/// The facts that decide.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    is_regular_file: bool,
    /// Of the disk beneath; `None` if there is none, or several.
    queue: Option<Queue>,
}

/// The options with the choices that are open. Of a file that is not there nothing is chosen: opening it reports that.
pub(super) fn complete(options: &FileBdevOptions) -> FileBdevOptions {
    let path = Path::new(&options.filename);
    let Ok(metadata) = std::fs::metadata(path) else { return options.clone() };
    let queue = DeviceNumber::beneath(path).and_then(|number| Kernel::this().queue(number));
    with(options, Facts { is_regular_file: metadata.is_file(), queue })
}

fn with(options: &FileBdevOptions, facts: Facts) -> FileBdevOptions {
    // Many initiators read the same boot image. A block device may be as large as no memory is.
    let buffered = (options.readonly && facts.is_regular_file).then_some(true);
    let each = facts.queue.is_some_and(|queue| queue.syncs_each_write());
    let sync = if each { SyncMode::Each } else { SyncMode::Group };
    FileBdevOptions {
        buffered: options.buffered.or(buffered),
        sync: options.sync.or(Some(sync)),
        ..options.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(write_cache: bool, fua: bool) -> Option<Queue> {
        Some(Queue { logical_block_size: 512, write_cache, fua, discard_max_bytes: 0, rotational: false })
    }

    #[test]
    fn what_is_only_read_goes_through_the_page_cache_if_it_is_a_file() {
        for (readonly, is_regular_file, buffered) in
            [(true, true, Some(true)), (true, false, None), (false, true, None), (false, false, None)]
        {
            let options = FileBdevOptions { readonly, ..FileBdevOptions::new("f", "/x") };
            assert_eq!(with(&options, Facts { is_regular_file, queue: None }).buffered, buffered);
            let asked = FileBdevOptions { buffered: Some(false), ..options };
            assert_eq!(with(&asked, Facts { is_regular_file, queue: None }).buffered, Some(false));
        }
    }

    #[test]
    fn each_write_is_synced_by_itself_where_that_is_one_operation_of_the_disk() {
        let options = FileBdevOptions::new("f", "/x");
        for (queue, sync) in [
            (queue(true, false), SyncMode::Group),
            (queue(true, true), SyncMode::Each),
            (queue(false, false), SyncMode::Each),
            (None, SyncMode::Group),
        ] {
            assert_eq!(with(&options, Facts { is_regular_file: true, queue }).sync, Some(sync), "{queue:?}");
            let asked = FileBdevOptions { sync: Some(SyncMode::None), ..options.clone() };
            assert_eq!(with(&asked, Facts { is_regular_file: true, queue }).sync, Some(SyncMode::None));
        }
    }

    #[test]
    fn of_a_file_that_is_not_there_nothing_is_chosen() {
        let options = FileBdevOptions::new("f", "/no/such/file");
        assert_eq!(complete(&options), options);
    }
}
