//! The boundary to JavaScript: calls into the app, its events, and browser APIs such as storage.

pub mod media;

use fog_api::{ApiError, Command, Event, Reply};
use fog_types::ErrorKind;
use fog_types::job::GridOptions;
use js_sys::{Function, Promise, Reflect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Sends a command to the engine.
///
/// # Errors
/// The failure that the engine reports, or that it cannot be reached.
pub async fn call(command: Command) -> Result<Reply, ApiError> {
    invoke("call", &serde_json::json!({ "command": command })).await
}

/// Submits a job file or module by its path on this device; for other devices with `grid`.
///
/// # Errors
/// Same as [`call`].
pub async fn submit_path(path: &str, grid: Option<GridOptions>) -> Result<Reply, ApiError> {
    invoke("submit_path", &serde_json::json!({ "path": path, "grid": grid })).await
}

/// Estimates the cost of the job at a path; takes up to ten seconds.
///
/// # Errors
/// Same as [`call`].
pub async fn estimate_path(path: &str) -> Result<Reply, ApiError> {
    invoke("estimate_path", &serde_json::json!({ "path": path })).await
}

/// Lets the user choose a file; `None` when the dialog was cancelled.
///
/// # Errors
/// When the app cannot be reached.
pub async fn pick_file(kind: &str) -> Result<Option<String>, ApiError> {
    invoke("pick_file", &serde_json::json!({ "kind": kind })).await
}

/// Lets the user choose a folder; `None` when the dialog was cancelled.
///
/// # Errors
/// When the app cannot be reached.
pub async fn pick_folder() -> Result<Option<String>, ApiError> {
    invoke("pick_folder", &serde_json::json!({})).await
}

/// Saves all settings to a file that the user chooses; returns its path, or `None` when the dialog was
/// cancelled.
///
/// # Errors
/// When the file cannot be written.
pub async fn export_settings() -> Result<Option<String>, ApiError> {
    invoke("export_settings", &serde_json::json!({})).await
}

/// Imports settings from a file that the user chooses; returns false when the dialog was cancelled.
///
/// # Errors
/// When the file is not valid; then nothing is changed.
pub async fn import_settings() -> Result<bool, ApiError> {
    invoke("import_settings", &serde_json::json!({})).await
}

async fn invoke<T: DeserializeOwned>(name: &str, args: &impl Serialize) -> Result<T, ApiError> {
    let broken = |message: &str| ApiError::new(ErrorKind::Bug, message);
    let text = serde_json::to_string(args).map_err(|e| broken(&e.to_string()))?;
    let args = js_sys::JSON::parse(&text).map_err(|_| broken("arguments"))?;
    let invoke: Function =
        tauri(&["core", "invoke"]).ok_or_else(|| broken("the page does not run inside the app"))?;
    let promise =
        invoke.call2(&JsValue::NULL, &name.into(), &args).map_err(|_| broken("the app refused the call"))?;
    let promise: Promise = promise.dyn_into().map_err(|_| broken("the app gave no promise"))?;
    match JsFuture::from(promise).await {
        Ok(value) => from_js(&value).ok_or_else(|| broken("the app's answer cannot be read")),
        Err(error) => Err(from_js(&error).unwrap_or_else(|| broken(&error.as_string().unwrap_or_default()))),
    }
}

/// Calls `handler` for every event of the engine.
pub fn on_event(handler: impl Fn(Event) + 'static) {
    listen("fog", move |payload| {
        if let Some(event) = from_js(&payload) {
            handler(event);
        }
    });
}

/// Calls `handler` with the key of a page that the tray menu asks for.
pub fn on_page(handler: impl Fn(String) + 'static) {
    listen("page", move |payload| {
        if let Some(page) = payload.as_string() {
            handler(page);
        }
    });
}

/// Calls `handler` with the paths of files dropped on the window, and with an error while they hover (true)
/// or leave (false).
pub fn on_drop(handler: impl Fn(Result<Vec<String>, bool>) + Clone + 'static) {
    let (over, leave) = (handler.clone(), handler.clone());
    listen("tauri://drag-enter", move |_| over(Err(true)));
    listen("tauri://drag-leave", move |_| leave(Err(false)));
    listen("tauri://drag-drop", move |payload| {
        let paths = Reflect::get(&payload, &"paths".into()).ok().and_then(|paths| from_js(&paths));
        handler(Ok(paths.unwrap_or_default()));
    });
}

fn listen(name: &str, handler: impl Fn(JsValue) + 'static) {
    let Some(listen) = tauri(&["event", "listen"]) else { return };
    let closure = Closure::<dyn Fn(JsValue)>::new(move |event: JsValue| {
        handler(Reflect::get(&event, &"payload".into()).unwrap_or(JsValue::UNDEFINED));
    });
    // A listener lives as long as the page.
    let _ = listen.call2(&JsValue::NULL, &name.into(), closure.as_ref());
    closure.forget();
}

fn tauri(path: &[&str]) -> Option<Function> {
    let mut at: JsValue = Reflect::get(&js_sys::global(), &"__TAURI__".into()).ok()?;
    for part in path {
        at = Reflect::get(&at, &(*part).into()).ok()?;
    }
    at.dyn_into().ok()
}

fn from_js<T: DeserializeOwned>(value: &JsValue) -> Option<T> {
    let text = if value.is_undefined() {
        "null".to_owned()
    } else {
        js_sys::JSON::stringify(value).ok()?.as_string()?
    };
    serde_json::from_str(&text).ok()
}

/// Reads a value that an earlier window stored.
pub fn recall(key: &str) -> Option<String> {
    web_sys::window()?.local_storage().ok()??.get_item(key).ok()?
}

/// Stores a value for later windows.
pub fn remember(key: &str, value: &str) {
    if let Some(Ok(Some(storage))) = web_sys::window().map(|window| window.local_storage()) {
        // A full or forbidden storage only loses the choice.
        let _ = storage.set_item(key, value);
    }
}

/// Removes a stored value.
pub fn forget(key: &str) {
    if let Some(Ok(Some(storage))) = web_sys::window().map(|window| window.local_storage()) {
        // Same as in [`remember`].
        let _ = storage.remove_item(key);
    }
}

/// Sets colour scheme and language of the page.
pub fn dress(theme: &str, language: &str) {
    let Some(root) = web_sys::window()
        .and_then(|window| window.document())
        .and_then(|document| document.document_element())
    else {
        return;
    };
    let _ = if theme == "system" {
        root.remove_attribute("data-theme")
    } else {
        root.set_attribute("data-theme", theme)
    };
    let _ = root.set_attribute("lang", language);
    remember("theme", theme);
}

/// Returns the language that the system asks for.
pub fn system_language() -> String {
    web_sys::window().and_then(|window| window.navigator().language()).unwrap_or_default()
}

/// Whether the device is a phone or tablet, whatever the width of the window.
pub fn is_phone() -> bool {
    let agent = web_sys::window().and_then(|window| window.navigator().user_agent().ok()).unwrap_or_default();
    ["Android", "iPhone", "iPad"].iter().any(|device| agent.contains(device))
}

/// Whether the window is as narrow as a phone's, so that one pane is shown at a time; the style sheet uses
/// the same width.
pub fn is_narrow() -> bool {
    web_sys::window()
        .and_then(|window| window.inner_width().ok()?.as_f64())
        .is_some_and(|width| width <= 640.0)
}

/// Whether the window is visible.
pub fn is_visible() -> bool {
    web_sys::window().and_then(|window| window.document()).is_some_and(|document| !document.hidden())
}

/// Returns the offset of local time from UTC at a moment, in minutes.
pub fn minutes_ahead(at_ms: i64) -> i64 {
    -js_sys::Date::new(&JsValue::from_f64(at_ms as f64)).get_timezone_offset() as i64
}

/// Formats the day of a moment: `Mon, 3 March`.
pub fn date_words(at_ms: i64, language: &str) -> String {
    let options = js_sys::Object::new();
    for (field, form) in [("weekday", "short"), ("day", "numeric"), ("month", "long")] {
        // Setting a field of a new object does not fail.
        let _ = Reflect::set(&options, &field.into(), &form.into());
    }
    js_sys::Date::new(&JsValue::from_f64(at_ms as f64)).to_locale_date_string(language, &options).into()
}

/// Returns the milliseconds since 1970.
pub fn now_ms() -> i64 {
    js_sys::Date::now() as i64
}

/// Returns the minutes until 7:00 tomorrow.
pub fn minutes_until_tomorrow() -> u32 {
    let now = js_sys::Date::new_0();
    // The calendar accounts for nights that are an hour shorter or longer.
    let year = now.get_full_year();
    let until = js_sys::Date::new_with_year_month_day_hr_min_sec(
        year,
        now.get_month() as i32,
        now.get_date() as i32 + 1,
        7,
        0,
        0,
    );
    ((until.get_time() - now.get_time()) / 60_000.0).ceil().max(1.0) as u32
}

/// Moves the keyboard focus to an element; returns whether the element exists.
pub fn focus(id: &str) -> bool {
    let element = web_sys::window()
        .and_then(|window| window.document())
        .and_then(|document| document.get_element_by_id(id));
    element.is_some_and(|element| element.unchecked_into::<web_sys::HtmlElement>().focus().is_ok())
}

/// Calls `handler` about every `millis` milliseconds while the page lives.
pub fn every(millis: i32, handler: impl Fn() + 'static) {
    let closure = Closure::<dyn Fn()>::new(handler);
    if let Some(window) = web_sys::window() {
        let _ = window
            .set_interval_with_callback_and_timeout_and_arguments_0(closure.as_ref().unchecked_ref(), millis);
    }
    closure.forget();
}

/// Whether a text field has the keyboard focus.
pub fn is_typing(event: &web_sys::KeyboardEvent) -> bool {
    let target: Option<web_sys::Element> = event.target().and_then(|target| target.dyn_into().ok());
    target.is_some_and(|element| matches!(element.tag_name().as_str(), "INPUT" | "SELECT" | "TEXTAREA"))
}

/// Whether a dialog is open; `Escape` belongs to it then.
pub fn is_asking() -> bool {
    let document = web_sys::window().and_then(|window| window.document());
    document.is_some_and(|document| document.query_selector("dialog[open]").ok().flatten().is_some())
}

/// Makes a field as high as its text, up to the limit of the style sheet.
pub fn grow(field: &web_sys::HtmlTextAreaElement) {
    let style = field.style();
    // A value that the browser refuses leaves the height as it was.
    let _ = style.set_property("height", "auto");
    let _ = style.set_property("height", &format!("{}px", field.scroll_height() + 2));
}

/// Calls `handler` once, when an element is in sight or nearly so.
pub fn when_in_sight(element: &web_sys::Element, handler: impl FnOnce() + 'static) {
    let mut handler = Some(handler);
    let closure = Closure::<dyn FnMut(js_sys::Array, web_sys::IntersectionObserver)>::new(
        move |entries: js_sys::Array, observer: web_sys::IntersectionObserver| {
            let is_in = entries.iter().any(|entry| {
                entry
                    .dyn_into::<web_sys::IntersectionObserverEntry>()
                    .is_ok_and(|entry| entry.is_intersecting())
            });
            if is_in {
                observer.disconnect();
                if let Some(handler) = handler.take() {
                    handler();
                }
            }
        },
    );
    // The browser owns the closure and frees it with the observer.
    if let Ok(observer) = web_sys::IntersectionObserver::new(closure.into_js_value().unchecked_ref()) {
        observer.observe(element);
    }
}

/// Calls `handler` for every key pressed anywhere.
pub fn on_key(handler: impl Fn(web_sys::KeyboardEvent) + 'static) {
    let closure = Closure::<dyn Fn(web_sys::KeyboardEvent)>::new(handler);
    if let Some(window) = web_sys::window() {
        let _ = window.add_event_listener_with_callback("keydown", closure.as_ref().unchecked_ref());
    }
    closure.forget();
}

/// Calls `handler` whenever a button or finger is pressed anywhere.
pub fn on_pointer(handler: impl Fn(web_sys::Event) + 'static) {
    let closure = Closure::<dyn Fn(web_sys::Event)>::new(handler);
    if let Some(window) = web_sys::window() {
        let _ = window.add_event_listener_with_callback("pointerdown", closure.as_ref().unchecked_ref());
    }
    closure.forget();
}

/// Returns the node of the page at which an event happened.
pub fn target_node(event: &web_sys::Event) -> Option<web_sys::Node> {
    event.target().and_then(|target| target.dyn_into().ok())
}

/// Decodes text from base64; invalid UTF-8 is replaced.
pub fn from_base64(base64: &str) -> String {
    let binary = web_sys::window().and_then(|window| window.atob(base64).ok()).unwrap_or_default();
    let bytes: Vec<u8> = binary.chars().map(|c| c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
