//! Files that the user chooses, scaling of pictures, and recording of sound.

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, BlobEvent, CanvasRenderingContext2d, HtmlCanvasElement, ImageBitmap, MediaRecorder,
    MediaRecorderOptions, MediaStream,
};

/// Longest side to which a picture is scaled first, in pixels.
const FIRST_SIDE: f64 = 1600.0;
/// Number of attempts to make a picture small enough; each takes three quarters of the previous side.
const TRIES: u32 = 10;
/// Bit rate of recordings; 30 seconds of speech take about 75 KB.
const SOUND_BITS_PER_SECOND: u32 = 20_000;
/// Media types and extensions of recordings that phones can play, the best first.
const SOUNDS: [(&str, &str); 2] = [("audio/mp4", "m4a"), ("audio/ogg;codecs=opus", "ogg")];

/// A file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Name of the file.
    pub name: String,
    /// Content of the file in base64.
    pub base64: String,
}

/// Reason why a file is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The file is larger than the limit, and not a picture that could be made smaller.
    TooLarge(u64),
    /// The file cannot be read.
    Unreadable,
}

/// Returns the file chosen in a field, which is emptied so that the same file can be chosen again.
pub fn chosen(field: &web_sys::HtmlInputElement) -> Option<web_sys::File> {
    let file = field.files().and_then(|files| files.item(0));
    field.set_value("");
    file
}

/// Reads a file; a picture above the limit is converted to a JPEG below it.
///
/// # Errors
/// When the file cannot be read or is too large.
pub async fn read(file: web_sys::File, limit: u64) -> Result<Given, Refused> {
    let (name, size) = (file.name(), file.size() as u64);
    if size <= limit {
        let base64 = base64_of(&file).await.ok_or(Refused::Unreadable)?;
        return Ok(Given { name, base64 });
    }
    if !file.type_().starts_with("image/") {
        return Err(Refused::TooLarge(size));
    }
    let base64 = shrink(&file, limit).await.ok_or(Refused::TooLarge(size))?;
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    Ok(Given { name: format!("{stem}.jpg"), base64 })
}

async fn base64_of(blob: &Blob) -> Option<String> {
    let bytes = Uint8Array::new(&JsFuture::from(blob.array_buffer()).await.ok()?).to_vec();
    let binary: String = bytes.into_iter().map(char::from).collect();
    web_sys::window()?.btoa(&binary).ok()
}

async fn shrink(picture: &Blob, limit: u64) -> Option<String> {
    let window = web_sys::window()?;
    let bitmap: ImageBitmap =
        JsFuture::from(window.create_image_bitmap_with_blob(picture).ok()?).await.ok()?.dyn_into().ok()?;
    let canvas: HtmlCanvasElement = window.document()?.create_element("canvas").ok()?.dyn_into().ok()?;
    let (width, height) = (f64::from(bitmap.width()), f64::from(bitmap.height()));
    let mut scale = (FIRST_SIDE / width.max(height)).min(1.0);
    for _ in 0..TRIES {
        let (width, height) = ((width * scale).max(1.0).floor(), (height * scale).max(1.0).floor());
        canvas.set_width(width as u32);
        canvas.set_height(height as u32);
        let context: CanvasRenderingContext2d = canvas.get_context("2d").ok()??.dyn_into().ok()?;
        // A JPEG has no transparency; transparent parts would be black.
        context.set_fill_style_str("#fff");
        context.fill_rect(0.0, 0.0, width, height);
        context.draw_image_with_image_bitmap_and_dw_and_dh(&bitmap, 0.0, 0.0, width, height).ok()?;
        let url = canvas.to_data_url_with_type_and_encoder_options("image/jpeg", &0.8.into()).ok()?;
        let base64 = url.split_once(',')?.1;
        if base64.len() as u64 * 3 / 4 <= limit {
            return Some(base64.to_owned());
        }
        scale *= 0.75;
    }
    None
}

/// Whether this device can record sound; permission may still be denied.
pub fn can_record() -> bool {
    let has =
        |name: &str| Reflect::get(&js_sys::global(), &name.into()).is_ok_and(|value| value.is_function());
    has("MediaRecorder") && devices().is_some() && sound().is_some()
}

fn devices() -> Option<web_sys::MediaDevices> {
    // Outside a secure page there are none, although the type says otherwise.
    web_sys::window()?
        .navigator()
        .media_devices()
        .ok()
        .filter(|devices| AsRef::<JsValue>::as_ref(devices).is_object())
}

fn sound() -> Option<(&'static str, &'static str)> {
    SOUNDS.into_iter().find(|(mime, _)| MediaRecorder::is_type_supported(mime))
}

/// A recording in progress.
#[derive(Debug, Clone)]
pub struct Recording {
    recorder: MediaRecorder,
    stream: MediaStream,
    ending: &'static str,
}

impl Recording {
    /// Starts a recording; `None` when there is no microphone or permission is denied.
    pub async fn begin() -> Option<Self> {
        let (mime, ending) = sound()?;
        let wish = web_sys::MediaStreamConstraints::new();
        wish.set_audio(&true.into());
        let stream: MediaStream = JsFuture::from(devices()?.get_user_media_with_constraints(&wish).ok()?)
            .await
            .ok()?
            .dyn_into()
            .ok()?;
        let options = MediaRecorderOptions::new();
        options.set_mime_type(mime);
        options.set_audio_bits_per_second(SOUND_BITS_PER_SECOND);
        let recorder =
            MediaRecorder::new_with_media_stream_and_media_recorder_options(&stream, &options).ok();
        let begun = recorder.filter(|recorder| recorder.start().is_ok()).map(|recorder| Self {
            recorder,
            stream: stream.clone(),
            ending,
        });
        if begun.is_none() {
            close(&stream);
        }
        begun
    }

    /// Stops the recording and returns it.
    ///
    /// # Errors
    /// When the recording cannot be read or is too large.
    pub async fn end(self, name: &str, limit: u64) -> Result<Given, Refused> {
        let recorder = self.recorder.clone();
        // Without slices the whole recording comes in one piece, after the end.
        let sound = Promise::new(&mut |resolve, reject| {
            let heard = Closure::once_into_js(move |event: BlobEvent| {
                let _ = resolve.call1(&JsValue::NULL, &event.data().into());
            });
            recorder.set_ondataavailable(Some(heard.unchecked_ref()));
            if let Err(error) = recorder.stop() {
                // Rejecting a promise twice has no effect.
                let _ = reject.call1(&JsValue::NULL, &error);
            }
        });
        let sound = JsFuture::from(sound).await;
        close(&self.stream);
        let sound: Blob = sound.ok().and_then(|sound| sound.dyn_into().ok()).ok_or(Refused::Unreadable)?;
        let size = sound.size() as u64;
        if size > limit {
            return Err(Refused::TooLarge(size));
        }
        let base64 =
            base64_of(&sound).await.filter(|base64| !base64.is_empty()).ok_or(Refused::Unreadable)?;
        Ok(Given { name: format!("{name}.{}", self.ending), base64 })
    }

    /// Discards the recording.
    pub fn drop_it(self) {
        // The recording may have ended already.
        let _ = self.recorder.stop();
        close(&self.stream);
    }
}

/// Releases the microphone, so that its indicator goes out.
fn close(stream: &MediaStream) {
    for track in stream.get_tracks() {
        track.unchecked_into::<web_sys::MediaStreamTrack>().stop();
    }
}
