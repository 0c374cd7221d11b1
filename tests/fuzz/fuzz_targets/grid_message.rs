//! Messages of another device: over a control link, over a content link, and as an invitation.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = fog_grid::Message::decode(bytes) {
        // A decoded value is encoded to an equal one.
        assert_eq!(fog_grid::Message::decode(&message.encode()).as_ref(), Ok(&message));
    }
    let (author, group) = (fog_types::NodeId([1; 32]), fog_grid::Group { name: "home".to_owned(), secret: [7; 32] });
    drop(fog_grid::Advert::decode(bytes, author, None, &[0]));
    drop(fog_grid::Advert::decode(bytes, author, Some(&group), &[0]));
    drop(fog_runtime::History::from_bytes(bytes));
    drop(fog_grid::ContentRequest::decode(bytes));
    drop(fog_grid::ContentReply::decode(bytes));
    drop(fog_grid::Manifest::from_bytes(fog_grid::ContentId([0; 32]), bytes.len() as u64, bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(text.parse::<fog_grid::Invite>());
        drop(text.parse::<fog_types::NodeId>());
    }
});
