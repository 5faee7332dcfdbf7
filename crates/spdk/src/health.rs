//! The health of an NVMe drive, parsed from the log page that [`crate::IoKind::Health`] reads.

/// Bytes of NVMe's SMART / health information log page.
pub const HEALTH_LOG_BYTES: usize = 512;

/// Kelvin at 0 degrees Celsius, as NVMe has it.
const ZERO_CELSIUS: u16 = 273;

/// The used fields of the log page (NVMe 1.4, 5.14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthLog {
    /// Bits for spare, temperature, reliability, read-only, backup and persistent memory; 0 when all is well.
    pub critical_warning: u8,
    /// Degrees Celsius.
    pub temperature: i16,
    /// Percent of the spare blocks that are left.
    pub spare: u8,
    /// Percent of spare blocks below which the drive warns.
    pub spare_threshold: u8,
    /// Percent of its life that is used up; may exceed 100.
    pub used: u8,
    /// Times it was powered up.
    pub power_cycles: u64,
    /// Hours it was powered.
    pub power_on_hours: u64,
    /// Times its power went without warning.
    pub unsafe_shutdowns: u64,
    /// Times data was lost to the medium.
    pub media_errors: u64,
}

impl HealthLog {
    /// Reads the page.
    #[must_use]
    pub fn parse(page: &[u8; HEALTH_LOG_BYTES]) -> Self {
        // Counters have 128 bits. One that counts events or hours stays far below 64 bits.
        let counter = |at: usize| {
            let bytes: [u8; 16] = std::array::from_fn(|index| page[at + index]);
            u64::try_from(u128::from_le_bytes(bytes)).unwrap_or(u64::MAX)
        };
        let kelvin = u16::from_le_bytes([page[1], page[2]]);
        let celsius = i32::from(kelvin) - i32::from(ZERO_CELSIUS);
        Self {
            critical_warning: page[0],
            temperature: i16::try_from(celsius).unwrap_or(i16::MAX),
            spare: page[3],
            spare_threshold: page[4],
            used: page[5],
            power_cycles: counter(112),
            power_on_hours: counter(128),
            unsafe_shutdowns: counter(144),
            media_errors: counter(160),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_nvme_puts_them() {
        let mut page = [0; HEALTH_LOG_BYTES];
        page[..6].copy_from_slice(&[0x04, 0x3a, 0x01, 99, 10, 120]);
        page[112] = 5;
        page[128..130].copy_from_slice(&[0x34, 0x12]);
        page[144] = 7;
        page[160..176].fill(0xff);
        let want = HealthLog {
            critical_warning: 4,
            temperature: 41,
            spare: 99,
            spare_threshold: 10,
            used: 120,
            power_cycles: 5,
            power_on_hours: 0x1234,
            unsafe_shutdowns: 7,
            media_errors: u64::MAX,
        };
        assert_eq!(HealthLog::parse(&page), want);
    }

    #[test]
    fn any_temperature_can_be_told() {
        let mut page = [0; HEALTH_LOG_BYTES];
        assert_eq!(HealthLog::parse(&page).temperature, -273);
        page[1..3].fill(0xff);
        assert_eq!(HealthLog::parse(&page).temperature, i16::MAX);
    }
}
