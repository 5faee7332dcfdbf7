//! What holds for every frame, not only for the ones somebody thought of.

use aoe_wire::{
    AoeCommand, AoeError, AtaArgs, AtaFlags, AtaRepr, ConfigArgs, ConfigCommand, ConfigRepr, Directive,
    HEADER_LEN, Header, HeaderRepr, KEYED_LEN, KEYED_STATUS_LEN, KeyedArgs, KeyedStatus, MASK_LEN, MacAddr,
    MaskArgs, RESERVE_LEN, ReserveArgs, Shelf, ShelfSlot, Slot, Tag, mac_list, test_and_replace,
};
use proptest::prelude::*;

fn any_header() -> impl Strategy<Value = HeaderRepr> {
    (
        (any::<[u8; 6]>(), any::<[u8; 6]>(), any::<bool>(), any::<Option<u8>>()),
        (any::<u16>(), any::<u8>(), any::<u8>(), any::<[u8; 4]>()),
    )
        .prop_map(|((destination, source, response, error), (shelf, slot, command, tag))| HeaderRepr {
            destination: MacAddr(destination),
            source: MacAddr(source),
            response,
            error: error.map(AoeError::from),
            address: ShelfSlot::new(Shelf(shelf), Slot(slot)),
            command: AoeCommand::from(command),
            tag: Tag(tag),
        })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let whole = Header::view(&bytes).is_ok();
        prop_assert_eq!(whole, bytes.len() >= HEADER_LEN);
        if let Ok((header, argument)) = HeaderRepr::parse(&bytes) {
            prop_assert_eq!(&bytes[12..14], &[0x88, 0xa2]);
            prop_assert_eq!(bytes[14] >> 4, 1);
            prop_assert_eq!(header.response, bytes[14] & 8 != 0);
            prop_assert_eq!(AtaArgs::view(argument).is_ok(), bytes.len() >= 36);
            prop_assert_eq!(ConfigArgs::view(argument).is_ok(), bytes.len() >= 32);
        }
    }

    #[test]
    fn headers_survive_the_wire(header in any_header(), room in HEADER_LEN..64usize) {
        let mut frame = vec![0xa5; room];
        header.emit(&mut frame).unwrap();
        prop_assert!(frame[HEADER_LEN..].iter().all(|byte| *byte == 0xa5), "only declared bytes are written");
        let (read, rest) = HeaderRepr::parse(&frame).unwrap();
        prop_assert_eq!(read, header);
        prop_assert_eq!(rest.len(), room - HEADER_LEN);
    }

    #[test]
    fn ata_arguments_survive_the_wire(
        flags: u8, feature_error: u8, count: u8, command_status: u8, lba: [u8; 6], room in 12..32usize,
    ) {
        let value = AtaRepr { flags: AtaFlags(flags), feature_error, count, command_status, lba };
        let mut argument = vec![0xa5; room];
        value.emit(&mut argument).unwrap();
        prop_assert!(argument[12..].iter().all(|byte| *byte == 0xa5), "only declared bytes are written");
        prop_assert_eq!(&argument[10..12], &[0, 0]);
        prop_assert_eq!(AtaRepr::parse(&argument).unwrap().0, value);
    }

    #[test]
    fn config_arguments_survive_the_wire(
        buffer_count: u16, firmware: u16, sectors: u8, command in 0..16u8, string_len: u16, room in 8..32usize,
    ) {
        let command = ConfigCommand::from(command);
        let value = ConfigRepr { buffer_count, firmware, sectors, command, string_len };
        let mut argument = vec![0xa5; room];
        value.emit(&mut argument).unwrap();
        prop_assert!(argument[8..].iter().all(|byte| *byte == 0xa5), "only declared bytes are written");
        prop_assert_eq!(ConfigRepr::parse(&argument).unwrap().0, value);
    }

    #[test]
    fn arguments_of_claims_need_their_fixed_part_and_no_more(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let frame_len = HEADER_LEN + bytes.len();
        prop_assert_eq!(MaskArgs::view(&bytes).is_ok(), frame_len >= MASK_LEN);
        prop_assert_eq!(ReserveArgs::view(&bytes).is_ok(), frame_len >= RESERVE_LEN);
        prop_assert_eq!(KeyedArgs::view(&bytes).is_ok(), frame_len >= KEYED_LEN);
        prop_assert_eq!(KeyedStatus::view(&bytes).is_ok(), frame_len >= KEYED_STATUS_LEN);
    }

    #[test]
    fn lists_are_all_there_or_not_at_all(bytes in proptest::collection::vec(any::<u8>(), 0..80), count: u8) {
        let macs = mac_list(&bytes, count);
        prop_assert_eq!(macs.is_some(), usize::from(count) * 6 <= bytes.len());
        for (i, mac) in macs.unwrap_or_default().iter().enumerate() {
            prop_assert_eq!(&mac.0, &bytes[6 * i..6 * i + 6]);
        }
        let directives = Directive::list(&bytes, count);
        prop_assert_eq!(directives.is_some(), usize::from(count) * 8 <= bytes.len());
        for (i, directive) in directives.unwrap_or_default().iter().enumerate() {
            prop_assert_eq!(directive.command, bytes[8 * i + 1]);
            prop_assert_eq!(&directive.mac.0, &bytes[8 * i + 2..8 * i + 8]);
        }
    }

    #[test]
    fn strings_to_test_and_replace_are_found_or_missing(
        old in proptest::collection::vec(any::<u8>(), 0..20), new in proptest::collection::vec(any::<u8>(), 0..20),
        trailing in proptest::collection::vec(any::<u8>(), 0..5), cut in 0..50usize,
    ) {
        let mut data = old.clone();
        data.extend(u16::try_from(new.len()).unwrap().to_be_bytes());
        data.extend(&new);
        let whole = data.len();
        data.extend(&trailing);
        prop_assert_eq!(test_and_replace(&data, old.len()), Some((&old[..], &new[..])));
        data.truncate(cut);
        prop_assert_eq!(test_and_replace(&data, old.len()).is_some(), data.len() >= whole);
    }

    #[test]
    fn lba_setters_are_read_back(lba: u64, before: [u8; 6]) {
        let mut argument = [0xa5; 12];
        AtaRepr { lba: before, ..AtaRepr::default() }.emit(&mut argument).unwrap();
        let (args, _) = AtaArgs::view_mut(&mut argument).unwrap();
        args.set_lba28(lba);
        prop_assert_eq!(args.lba28(), lba & 0x0fff_ffff);
        prop_assert_eq!(args.lba[3] & 0xf0, before[3] & 0xf0);
        prop_assert_eq!(&args.lba[4..], &before[4..]);
        args.set_lba48(lba);
        prop_assert_eq!(args.lba48(), lba & 0xffff_ffff_ffff);
    }

    #[test]
    fn a_reply_changes_only_what_a_reply_changes(
        bytes in proptest::collection::vec(any::<u8>(), HEADER_LEN..80),
        own: [u8; 6], shelf: u16, slot: u8, error: Option<u8>,
    ) {
        let mut reply = bytes.clone();
        let (header, _) = Header::view_mut(&mut reply).unwrap();
        let address = ShelfSlot::new(Shelf(shelf), Slot(slot));
        header.turn_into_reply(MacAddr(own), address, error.map(AoeError::from));
        prop_assert_eq!(&reply[..6], &bytes[6..12]);
        prop_assert_eq!(&reply[6..12], &own);
        prop_assert_eq!(&reply[12..14], &bytes[12..14]);
        prop_assert_eq!(reply[14], if error.is_some() { 0x1c } else { 0x18 });
        prop_assert_eq!(reply[15], error.unwrap_or(0));
        prop_assert_eq!(&reply[16..18], &shelf.to_be_bytes());
        prop_assert_eq!(reply[18], slot);
        prop_assert_eq!(&reply[19..], &bytes[19..]);
    }
}
