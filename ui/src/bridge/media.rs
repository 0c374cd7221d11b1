//! Files that a person chooses, pictures made smaller, sound from the microphone.

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BlobEvent, CanvasRenderingContext2d, HtmlCanvasElement, ImageBitmap, MediaRecorder, MediaRecorderOptions, MediaStream};

/// Longest side that a picture is first scaled to, pixels.
const FIRST_SIDE: f64 = 1600.0;
/// Tries to make a picture small enough; each takes three quarters of the side before.
const TRIES: u32 = 10;
/// So 30 seconds of speech take about 75 KB.
const SOUND_BITS_PER_SECOND: u32 = 20_000;
/// What phones play, the best first.
const SOUNDS: [(&str, &str); 2] = [("audio/mp4", "m4a"), ("audio/ogg;codecs=opus", "ogg")];

/// A file as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub base64: String,
}

/// Why a file does not go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It is larger than the limit, and no picture that could be made smaller.
    TooLarge(u64),
    /// It cannot be read.
    Unreadable,
}

/// The file chosen in a field, which is emptied so that the same one can be chosen again.
pub fn chosen(field: &web_sys::HtmlInputElement) -> Option<web_sys::File> {
    let file = field.files().and_then(|files| files.item(0));
    field.set_value("");
    file
}

/// Reads a file; a picture above the limit becomes a JPEG below it.
///
/// # Errors
/// [`Refused`].
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
    let bitmap: ImageBitmap = JsFuture::from(window.create_image_bitmap_with_blob(picture).ok()?).await.ok()?.dyn_into().ok()?;
    let canvas: HtmlCanvasElement = window.document()?.create_element("canvas").ok()?.dyn_into().ok()?;
    let (width, height) = (f64::from(bitmap.width()), f64::from(bitmap.height()));
    let mut scale = (FIRST_SIDE / width.max(height)).min(1.0);
    for _ in 0..TRIES {
        let (width, height) = ((width * scale).max(1.0).floor(), (height * scale).max(1.0).floor());
        canvas.set_width(width as u32);
        canvas.set_height(height as u32);
        let context: CanvasRenderingContext2d = canvas.get_context("2d").ok()??.dyn_into().ok()?;
        // A JPEG has no holes; what shines through would be black.
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

/// Whether sound can be taken here at all; somebody may still forbid it.
pub fn can_record() -> bool {
    let has = |name: &str| Reflect::get(&js_sys::global(), &name.into()).is_ok_and(|value| value.is_function());
    has("MediaRecorder") && devices().is_some() && sound().is_some()
}

fn devices() -> Option<web_sys::MediaDevices> {
    // Outside a secure page there are none, whatever the type says.
    web_sys::window()?.navigator().media_devices().ok().filter(|devices| AsRef::<JsValue>::as_ref(devices).is_object())
}

fn sound() -> Option<(&'static str, &'static str)> {
    SOUNDS.into_iter().find(|(mime, _)| MediaRecorder::is_type_supported(mime))
}

/// A recording under way.
#[derive(Debug, Clone)]
pub struct Recording {
    recorder: MediaRecorder,
    stream: MediaStream,
    ending: &'static str,
}

impl Recording {
    /// Begins; `None` when there is no microphone or somebody forbids it.
    pub async fn begin() -> Option<Self> {
        let (mime, ending) = sound()?;
        let wish = web_sys::MediaStreamConstraints::new();
        wish.set_audio(&true.into());
        let stream: MediaStream = JsFuture::from(devices()?.get_user_media_with_constraints(&wish).ok()?).await.ok()?.dyn_into().ok()?;
        let options = MediaRecorderOptions::new();
        options.set_mime_type(mime);
        options.set_audio_bits_per_second(SOUND_BITS_PER_SECOND);
        let recorder = MediaRecorder::new_with_media_stream_and_media_recorder_options(&stream, &options).ok();
        let begun = recorder.filter(|recorder| recorder.start().is_ok()).map(|recorder| Self { recorder, stream: stream.clone(), ending });
        if begun.is_none() {
            close(&stream);
        }
        begun
    }

    /// Ends it and gives what was said.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn end(self, name: &str, limit: u64) -> Result<Given, Refused> {
        let recorder = self.recorder.clone();
        // Without slices the whole sound comes in one piece, after the end.
        let sound = Promise::new(&mut |resolve, reject| {
            let heard = Closure::once_into_js(move |event: BlobEvent| {
                let _ = resolve.call1(&JsValue::NULL, &event.data().into());
            });
            recorder.set_ondataavailable(Some(heard.unchecked_ref()));
            if let Err(error) = recorder.stop() {
                // A promise that is rejected twice stays as it is.
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
        let base64 = base64_of(&sound).await.filter(|base64| !base64.is_empty()).ok_or(Refused::Unreadable)?;
        Ok(Given { name: format!("{name}.{}", self.ending), base64 })
    }

    /// Throws it away.
    pub fn drop_it(self) {
        // It may have ended by itself.
        let _ = self.recorder.stop();
        close(&self.stream);
    }
}

/// Lets go of the microphone, so that the sign for it goes out.
fn close(stream: &MediaStream) {
    for track in stream.get_tracks() {
        track.unchecked_into::<web_sys::MediaStreamTrack>().stop();
    }
}
