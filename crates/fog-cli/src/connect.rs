use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fog_api::settings::keys;
use fog_api::{Command, Reply, SettingsCommand};
use fog_ipc::Client;
use fog_types::ErrorKind;
use fog_words::Words;

use crate::output::{Failure, say};

/// Context that every verb needs.
pub struct Context {
    /// Path of the data folder.
    pub data_folder: PathBuf,
    /// Whether output is JSON.
    pub json: bool,
}

impl Context {
    pub fn new(data_dir: Option<&Path>, json: bool) -> Result<Self, Failure> {
        let named = data_dir.filter(|folder| !folder.as_os_str().is_empty());
        let data_folder = named.map_or_else(fog_engine::default_data_folder, |folder| Ok(folder.to_owned()));
        Ok(Self { data_folder: data_folder.map_err(|error| Failure::new(ErrorKind::Storage, error))?, json })
    }

    /// Connects to the running engine.
    pub async fn client(&self) -> Result<Client, Failure> {
        let connected = Client::connect(&fog_ipc::endpoint(&self.data_folder)).await;
        connected.map_err(|error| {
            let mut failure = Failure::of(&error);
            if failure.error.kind == ErrorKind::NotRunning {
                let missing = if self.data_folder.is_dir() { "" } else { ", which does not exist" };
                failure.error.message = format!(
                    "{} (data folder: {}{missing})",
                    failure.error.message,
                    self.data_folder.display()
                );
            }
            failure
        })
    }

    /// Sends one command to the running engine.
    pub async fn call(&self, command: Command) -> Result<Reply, Failure> {
        Ok(self.client().await?.call(command).await?)
    }

    /// Sends one change and prints what of it could not be stored.
    pub async fn change(&self, command: Command) -> Result<(), Failure> {
        change(&self.client().await?, command).await
    }

    /// Returns the user's language: of the setting when it names one, otherwise of the environment.
    pub fn words(&self, setting: Option<&str>) -> Words {
        let environment = || {
            ["LC_ALL", "LC_MESSAGES", "LANG"]
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        };
        match setting {
            Some(code) if code != "system" => Words::new(code),
            _ => Words::new(&environment().unwrap_or_default()),
        }
    }

    /// Returns the words by the settings of the engine if one runs, otherwise of the environment.
    pub async fn words_here(&self) -> Words {
        match self.client().await {
            Ok(client) => self.words_of(&client).await,
            Err(_) => self.words(None),
        }
    }

    /// Returns a failure in the user's language; unchanged when a program reads it.
    pub async fn in_words(&self, failure: Failure) -> Failure {
        if self.json || failure.error.key.is_empty() {
            failure
        } else {
            failure.in_words(&self.words_here().await)
        }
    }

    /// Returns the words by the running engine's settings.
    pub async fn words_of(&self, client: &Client) -> Words {
        let language = match client.call(Command::Settings(SettingsCommand::Get)).await {
            Ok(Reply::Settings(values)) => {
                values.get(keys::LANGUAGE.key()).and_then(|v| v.as_str()).map(str::to_owned)
            }
            _ => None,
        };
        self.words(language.as_deref())
    }
}

/// Sends one change and prints what of it could not be stored.
pub async fn change(client: &Client, command: Command) -> Result<(), Failure> {
    if let Reply::NotStored { message } = client.call(command).await? {
        say!("fog: {message}");
    }
    Ok(())
}

/// Returns the present time by the engine's clock, to which the times in its replies refer.
pub async fn engine_now(client: &Client) -> i64 {
    match client.call(Command::Snapshot).await {
        Ok(Reply::Snapshot(snapshot)) => snapshot.status.at_ms,
        _ => now_ms(),
    }
}

/// Returns the failure for an answer of the wrong kind, a bug on one of the two sides.
pub fn unexpected(reply: &Reply) -> Failure {
    let _ = reply;
    Failure::new(ErrorKind::Bug, "the engine gave an answer of the wrong kind")
}

/// Returns the milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Makes a path absolute: the engine has another working folder.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::storage(path, &e))
}
