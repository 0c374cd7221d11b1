//! Dragging of files from another program onto a window: the source side of XDND.
//!
//! <https://www.freedesktop.org/wiki/Specifications/XDND/>

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, PropMode,
    SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

struct Source {
    server: RustConnection,
    target: Window,
    uri_list: Atom,
    text: String,
}

/// Drags a file over a window and drops it there.
///
/// # Errors
/// When the window does not accept it within some seconds.
pub fn drop_file(display: &str, target: Window, path: &std::path::Path) -> anyhow::Result<()> {
    let (server, screen) = x11rb::connect(Some(display))?;
    let root = server.setup().roots.get(screen).context("no screen")?.root;
    let window = server.generate_id()?;
    server.create_window(
        0,
        window,
        root,
        0,
        0,
        1,
        1,
        0,
        WindowClass::INPUT_OUTPUT,
        0,
        &CreateWindowAux::new(),
    )?;
    let atom = |name: &str| anyhow::Ok(server.intern_atom(false, name.as_bytes())?.reply()?.atom);
    let (selection, uri_list, copy) =
        (atom("XdndSelection")?, atom("text/uri-list")?, atom("XdndActionCopy")?);
    let (enter, position, release) = (atom("XdndEnter")?, atom("XdndPosition")?, atom("XdndDrop")?);
    let (status, finished) = (atom("XdndStatus")?, atom("XdndFinished")?);
    server.set_selection_owner(window, selection, x11rb::CURRENT_TIME)?.check()?;
    let place = server.translate_coordinates(target, root, 200, 300)?.reply()?;
    let at = (place.dst_x as u32) << 16 | place.dst_y as u32;
    let source = Source { server, target, uri_list, text: format!("file://{}\r\n", path.display()) };

    source.tell(enter, [window, 5 << 24, uri_list, 0, 0])?;
    for step in 0..5 {
        source.tell(position, [window, 0, at + step, 0, copy])?;
        let accepted = source.serve_until(status)?;
        std::thread::sleep(Duration::from_millis(50));
        if step == 4 && accepted[1] & 1 == 0 {
            bail!("the window does not want the file");
        }
    }
    source.tell(release, [window, 0, 0, 0, 0])?;
    source.serve_until(finished).map(drop)
}

impl Source {
    fn tell(&self, kind: Atom, data: [u32; 5]) -> anyhow::Result<()> {
        let message = ClientMessageEvent::new(32, self.target, kind, data);
        self.server.send_event(false, self.target, EventMask::NO_EVENT, message)?;
        self.server.flush()?;
        Ok(())
    }

    /// Serves the list of files until the target answers with a message of this kind.
    fn serve_until(&self, kind: Atom) -> anyhow::Result<[u32; 5]> {
        let limit = Instant::now() + Duration::from_secs(10);
        while Instant::now() < limit {
            match self.server.poll_for_event()? {
                Some(Event::ClientMessage(message)) if message.type_ == kind => {
                    return Ok(message.data.as_data32());
                }
                Some(Event::SelectionRequest(request)) => {
                    let property =
                        if request.property == x11rb::NONE { request.target } else { request.property };
                    let given = request.target == self.uri_list;
                    if given {
                        self.server.change_property8(
                            PropMode::REPLACE,
                            request.requestor,
                            property,
                            self.uri_list,
                            self.text.as_bytes(),
                        )?;
                    } else {
                        self.server.change_property32(
                            PropMode::REPLACE,
                            request.requestor,
                            property,
                            AtomEnum::ATOM,
                            &[self.uri_list],
                        )?;
                    }
                    let answer = SelectionNotifyEvent {
                        response_type: SELECTION_NOTIFY_EVENT,
                        sequence: 0,
                        time: request.time,
                        requestor: request.requestor,
                        selection: request.selection,
                        target: request.target,
                        property,
                    };
                    self.server.send_event(false, request.requestor, EventMask::NO_EVENT, answer)?;
                    self.server.flush()?;
                }
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        bail!("the window does not answer")
    }
}
