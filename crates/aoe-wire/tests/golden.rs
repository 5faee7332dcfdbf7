//! Frames of real initiators and targets, read and written again.

use aoe_wire::{
    AoeCommand, AtaArgs, AtaRepr, ConfigCommand, ConfigRepr, Directive, DirectiveCommand, HEADER_LEN,
    HeaderRepr, Key, KeyedArgs, KeyedCommand, KeyedReplaceArgs, KeyedStatus, MaskArgs, MaskCommand,
    MaskError, ParseError, ReserveArgs, ReserveCommand, TooShort, mac_list, test_and_replace,
};

mod vector_file;

use vector_file::Vector;

/// What `frame` means to us, in the words of the golden files.
fn meaning(frame: &[u8]) -> Vec<String> {
    let (header, argument) = match HeaderRepr::parse(frame) {
        Ok(parsed) => parsed,
        Err(ParseError::BadVersion(version)) => return vec![format!("error: version {version}")],
        Err(error) => return vec![format!("error: {error}")],
    };
    let tag: String = header.tag.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut lines = vec![
        format!("from: {}", header.source),
        format!("to: {}", header.destination),
        format!("address: {}", header.address),
        format!("command: {:?}", header.command),
        format!("tag: {tag}"),
        format!("kind: {}", if header.response { "response" } else { "request" }),
    ];
    lines.extend(header.error.map(|error| format!("refusal: {error:?}")));
    match header.command {
        AoeCommand::Ata => {
            let (args, data) = AtaArgs::view(argument).unwrap();
            lines.extend([
                format!("flags: {:02x}", args.flags.0),
                format!("feature_error: {:02x}", args.feature_error),
                format!("count: {}", args.count),
                format!("command_status: {:02x}", args.command_status),
                format!("lba: {}", args.lba48()),
                format!("data: {}", data.len()),
            ]);
        }
        AoeCommand::Config => {
            let (args, string) = ConfigRepr::parse(argument).unwrap();
            lines.extend([
                format!("buffers: {}", args.buffer_count),
                format!("firmware: {:04x}", args.firmware),
                format!("sectors: {}", args.sectors),
                format!("config: {:?}", args.command),
                format!("string_len: {}", args.string_len),
            ]);
            if args.command == ConfigCommand::TestAndReplace {
                let (old, new) = test_and_replace(string, usize::from(args.string_len)).unwrap();
                lines.push(format!("replace: {} -> {}", old.escape_ascii(), new.escape_ascii()));
            }
            if header.response && args.string_len > 0 {
                lines.push(format!("string: {}", string[..usize::from(args.string_len)].escape_ascii()));
            }
        }
        AoeCommand::MacMask => {
            let (args, rest) = MaskArgs::view(argument).unwrap();
            lines.extend([
                format!("mask: {:?}", MaskCommand::from(args.command)),
                format!("mask_error: {:?}", MaskError::from(args.error)),
                format!("count: {}", args.count),
            ]);
            lines.extend(Directive::list(rest, args.count).unwrap().iter().map(|directive| {
                format!("directive: {:?} {}", DirectiveCommand::from(directive.command), directive.mac)
            }));
        }
        AoeCommand::Reserve => {
            let (args, rest) = ReserveArgs::view(argument).unwrap();
            lines.push(format!("reserve: {:?}", ReserveCommand::from(args.command)));
            lines.push(format!("count: {}", args.count));
            lines.extend(mac_list(rest, args.count).unwrap().iter().map(|mac| format!("mac: {mac}")));
        }
        AoeCommand::KeyedReserve => lines.extend(keyed(argument, header.response)),
        AoeCommand::Unknown(_) => {}
    }
    lines
}

/// The argument of command 4.
fn keyed(argument: &[u8], response: bool) -> Vec<String> {
    let key = |Key(bytes): Key| format!("{:016x}", u64::from_be_bytes(bytes));
    let command = KeyedCommand::from(argument[0]);
    let mut lines = vec![format!("keyed: {command:?}")];
    if response {
        let (status, _) = KeyedStatus::view(argument).unwrap();
        lines.extend([
            format!("type: {}", status.reservation_type),
            format!("keys: {}", status.keys),
            format!("generation: {}", status.generation),
            format!("owner: {}", key(status.owner)),
        ]);
    } else if command == KeyedCommand::Replace {
        let (args, _) = KeyedReplaceArgs::view(argument).unwrap();
        lines.extend([
            format!("type: {}", args.reservation_type),
            format!("flags: {:02x}", args.flags),
            format!("target: {}", key(args.target)),
            format!("new: {}", key(args.new)),
        ]);
    } else {
        let (args, rest) = KeyedArgs::view(argument).unwrap();
        lines.push(format!("count_or_type: {}", args.count_or_type));
        lines.push(format!("key: {}", key(args.key)));
        lines.extend(mac_list(rest, args.count_or_type).unwrap().iter().map(|mac| format!("mac: {mac}")));
    }
    lines
}

#[test]
fn golden_frames_mean_what_they_mean() {
    for vector in Vector::all() {
        assert_eq!(meaning(&vector.frame), vector.meaning, "{}", vector.name);
    }
}

/// Reads the values of a frame and writes them into stale bytes.
fn rewritten(frame: &[u8]) -> Result<Vec<u8>, ParseError> {
    let (header, argument) = HeaderRepr::parse(frame)?;
    let mut copy = vec![0xa5; frame.len()];
    let room = header.emit(&mut copy)?;
    let (room, rest) = match header.command {
        AoeCommand::Ata => {
            let (args, rest) = AtaRepr::parse(argument)?;
            (args.emit(room)?, rest)
        }
        AoeCommand::Config => {
            let (args, rest) = ConfigRepr::parse(argument)?;
            (args.emit(room)?, rest)
        }
        _ => (room, argument),
    };
    room.copy_from_slice(rest);
    Ok(copy)
}

#[test]
fn golden_frames_are_written_as_they_came() {
    let mut compared = 0;
    for vector in Vector::all() {
        let mut expected = vector.frame.clone();
        let written = match rewritten(&vector.frame) {
            Ok(written) => written,
            Err(ParseError::BadVersion(0)) => continue,
            Err(error) => panic!("{}: {error}", vector.name),
        };
        if HeaderRepr::parse(&expected).unwrap().0.command == AoeCommand::Config {
            // The tools leave the version in byte 29 at 0; we write what the protocol wants there.
            expected[29] = 0x10 | expected[29] & 0x0f;
        }
        assert_eq!(written, expected, "{}", vector.name);
        compared += 1;
    }
    assert!(compared >= 25, "{compared} frames compared");
}

#[test]
fn golden_frames_cut_short_are_refused_where_they_end() {
    for vector in Vector::all() {
        let fixed = match vector.frame[19] {
            0 => 36,
            1 => 32,
            _ => HEADER_LEN,
        };
        for have in 0..fixed.min(vector.frame.len()) {
            let need = if have < HEADER_LEN { HEADER_LEN } else { fixed };
            match rewritten(&vector.frame[..have]) {
                Err(ParseError::BadVersion(0)) if have >= HEADER_LEN => {}
                cut => assert_eq!(
                    cut,
                    Err(ParseError::TooShort(TooShort { need, have })),
                    "{} cut to {have}",
                    vector.name
                ),
            }
        }
    }
}
