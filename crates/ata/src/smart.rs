//! The pages in which a disk tells of its health: SMART READ DATA and READ THRESHOLDS.
//!
//! Their frame (revision, 30 attributes of 12 bytes, checksum) is that of ATA-3 and SFF-8035i, which every reader
//! still goes by; which number an attribute has is custom, not standard: those here mean the same to `smartctl`.

use crate::SMART_BYTES;

/// The health data of a drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The drive warns that it may fail, or has failed in part.
    pub critical: bool,
    /// Degrees Celsius.
    pub temperature: i16,
    /// Hours it was powered.
    pub power_on_hours: u64,
    /// Times it was powered up.
    pub power_cycles: u64,
    /// Of these, times its power went without warning.
    pub unsafe_shutdowns: u64,
    /// Times data could not be read.
    pub media_errors: u64,
    /// Percent of the spare blocks that are left.
    pub spare: u8,
    /// Percent of spare blocks below which the drive warns.
    pub spare_threshold: u8,
    /// Percent of its expected life that is used up; may exceed 100.
    pub used: u8,
}

/// One attribute.
struct Attribute {
    id: u8,
    /// 1 (worst) to 100.
    value: u8,
    /// An attribute whose value is at or below this has failed; 0 never.
    threshold: u8,
    /// 48 bits.
    raw: u64,
}

/// Bytes of an attribute in either page.
const ATTRIBUTE: usize = 12;
/// Offset of the attributes.
const FIRST: usize = 2;
/// The page's format.
const REVISION: u8 = 0x10;
/// Flag of an attribute that is kept up to date without being asked to.
const ONLINE: u8 = 0x02;
/// Flag of an attribute whose threshold announces a failure.
const PREFAILURE: u8 = 0x01;

impl Health {
    /// In the order of their numbers.
    fn attributes(&self) -> [Attribute; 7] {
        let count = |id, raw| Attribute { id, value: 100, threshold: 0, raw };
        let percent = |left: u8| left.clamp(1, 100);
        // Readers take the low bytes as signed degrees.
        let degrees = u64::from(self.temperature.cast_unsigned());
        let coolness = u8::try_from(100 - self.temperature.clamp(0, 99)).unwrap_or(1);
        [
            count(9, self.power_on_hours),
            count(12, self.power_cycles),
            count(187, self.media_errors),
            count(192, self.unsafe_shutdowns),
            Attribute { id: 194, value: coolness, threshold: 0, raw: degrees },
            Attribute {
                id: 232,
                value: percent(self.spare),
                // The drive warns below its threshold, an attribute fails at it.
                threshold: self.spare_threshold.saturating_sub(1).min(100),
                raw: u64::from(self.spare),
            },
            Attribute {
                id: 233,
                value: percent(100u8.saturating_sub(self.used)),
                threshold: 0,
                raw: u64::from(self.used),
            },
        ]
    }

    /// Fills in the page of SMART READ DATA. Every byte is written.
    pub fn write_data(&self, page: &mut [u8; SMART_BYTES]) {
        page.fill(0);
        page[0] = REVISION;
        for (room, attribute) in page[FIRST..].chunks_exact_mut(ATTRIBUTE).zip(self.attributes()) {
            let failing = if attribute.threshold > 0 { PREFAILURE } else { 0 };
            // Values saturate at 48 bits. The worst value is not stored; the current one stands for it.
            let [a, b, c, d, e, f, ..] = attribute.raw.min((1 << 48) - 1).to_le_bytes();
            let bytes =
                [attribute.id, ONLINE | failing, 0, attribute.value, attribute.value, a, b, c, d, e, f, 0];
            room.copy_from_slice(&bytes);
        }
        // No test was ever run, none can be, no log is kept: all else is 0.
        seal(page);
    }

    /// Fills in the page of SMART READ THRESHOLDS. Every byte is written.
    pub fn write_thresholds(&self, page: &mut [u8; SMART_BYTES]) {
        page.fill(0);
        page[0] = REVISION;
        for (room, attribute) in page[FIRST..].chunks_exact_mut(ATTRIBUTE).zip(self.attributes()) {
            room[..2].copy_from_slice(&[attribute.id, attribute.threshold]);
        }
        seal(page);
    }
}

/// Makes all 512 bytes add up to zero.
fn seal(page: &mut [u8; SMART_BYTES]) {
    let sum = page[..SMART_BYTES - 1].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    page[SMART_BYTES - 1] = sum.wrapping_neg();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEALTH: Health = Health {
        critical: false,
        temperature: 41,
        power_on_hours: 0x0102_0304,
        power_cycles: 12,
        unsafe_shutdowns: 3,
        media_errors: 1,
        spare: 97,
        spare_threshold: 10,
        used: 25,
    };

    #[test]
    fn attributes_lie_where_readers_look() {
        let (mut data, mut thresholds) = ([0xa5; SMART_BYTES], [0xa5; SMART_BYTES]);
        HEALTH.write_data(&mut data);
        HEALTH.write_thresholds(&mut thresholds);
        assert_eq!(&data[..2], [0x10, 0]);
        assert_eq!(&data[2..14], [9, 2, 0, 100, 100, 4, 3, 2, 1, 0, 0, 0], "hours");
        assert_eq!(&data[26..38], [187, 2, 0, 100, 100, 1, 0, 0, 0, 0, 0, 0], "media errors");
        assert_eq!(&data[50..62], [194, 2, 0, 59, 59, 41, 0, 0, 0, 0, 0, 0], "temperature");
        assert_eq!(&data[62..74], [232, 3, 0, 97, 97, 97, 0, 0, 0, 0, 0, 0], "spare");
        assert_eq!(&data[74..86], [233, 2, 0, 75, 75, 25, 0, 0, 0, 0, 0, 0], "life");
        assert!(data[86..511].iter().all(|byte| *byte == 0));
        assert_eq!(&thresholds[62..65], [232, 9, 0]);
        for at in (2..86).step_by(12) {
            assert_eq!(data[at], thresholds[at], "same attribute at the same place");
        }
    }

    proptest! {
        #[test]
        fn any_health_makes_valid_pages(
            temperature: i16, counts: [u64; 4], percents: [u8; 3], critical: bool,
        ) {
            let [power_on_hours, power_cycles, unsafe_shutdowns, media_errors] = counts;
            let [spare, spare_threshold, used] = percents;
            let health = Health { critical, temperature, power_on_hours, power_cycles, unsafe_shutdowns,
                media_errors, spare, spare_threshold, used };
            let mut page = [0xa5; SMART_BYTES];
            health.write_data(&mut page);
            prop_assert_eq!(page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
            for at in (2..86).step_by(12) {
                prop_assert!((1..=100).contains(&page[at + 3]));
            }
            health.write_thresholds(&mut page);
            prop_assert_eq!(page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        }
    }
}
