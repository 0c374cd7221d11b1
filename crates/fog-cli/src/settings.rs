use std::collections::BTreeMap;
use std::process::ExitCode;

use fog_api::settings::{ALL, Conflict, EXPORT_VERSION, ExportFile, Kind, conflicts, find, parse_export};
use fog_api::{Command, Reply, SettingsCommand};
use serde_json::Value;

use crate::args::SettingsVerb;
use crate::connect::{Context, change, unexpected};
use crate::output::{Failure, print_json, print_table, print_text, read_text, say};

/// Greatest size of an imported file in bytes; an exported one has some kilobytes.
const MAX_IMPORT_BYTES: u64 = 4 << 20;

/// Runs `fog settings …`.
pub async fn settings(context: &Context, verb: SettingsVerb) -> Result<ExitCode, Failure> {
    match verb {
        SettingsVerb::List => list(context, &values(context).await?)?,
        SettingsVerb::Get { key } => {
            let value = values(context).await?.remove(&key).ok_or_else(|| unknown(&key))?;
            if context.json { print_json(&value)? } else { print_text(&plain(&value)) }
        }
        SettingsVerb::Set { changes } => {
            let changes = changes.iter().map(|change| parse(change)).collect::<Result<_, _>>()?;
            store(context, changes).await?;
        }
        SettingsVerb::Export { output } => {
            let file = ExportFile { fog_settings: EXPORT_VERSION, settings: values(context).await? };
            match output {
                None => print_json(&file)?,
                Some(path) => {
                    let text =
                        serde_json::to_string_pretty(&file).map_err(|e| Failure::bug(e.to_string()))?;
                    fog_runtime::write_file(&path, (text + "\n").as_bytes())
                        .map_err(|e| Failure::storage(&path, &e))?;
                }
            }
        }
        SettingsVerb::Import { file } => {
            let text = read_text(&file, MAX_IMPORT_BYTES)?;
            let (known, unknown) =
                parse_export(&text).map_err(|e| Failure::input(format!("{e}. Nothing was changed")))?;
            store(context, known).await?;
            for key in unknown {
                say!("fog: this release has no setting '{key}'; it was left out");
            }
        }
        SettingsVerb::Reset => {
            context.change(Command::Settings(SettingsCommand::Reset)).await?;
            if context.json {
                print_json(&values(context).await?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn values(context: &Context) -> Result<BTreeMap<String, Value>, Failure> {
    match context.call(Command::Settings(SettingsCommand::Get)).await? {
        Reply::Settings(values) => Ok(values),
        other => Err(unexpected(&other)),
    }
}

async fn store(context: &Context, changes: BTreeMap<String, Value>) -> Result<(), Failure> {
    let keys: Vec<String> = changes.keys().cloned().collect();
    let client = context.client().await?;
    change(&client, Command::Settings(SettingsCommand::Set { changes })).await?;
    // A stored setting without effect is reported at once.
    if let Reply::Settings(mut values) = client.call(Command::Settings(SettingsCommand::Get)).await? {
        let is_changed =
            |conflict: &&Conflict| conflict.keys.iter().any(|key| keys.iter().any(|changed| changed == key));
        for conflict in conflicts(&values).iter().filter(is_changed) {
            say!("fog: {}", conflict.message);
        }
        if context.json {
            values.retain(|key, _| keys.contains(key));
            print_json(&values)?;
        }
    }
    Ok(())
}

fn unknown(key: &str) -> Failure {
    Failure::new(
        fog_types::ErrorKind::NotFound,
        format!("there is no setting '{key}'; `fog settings list` shows them all"),
    )
}

pub fn parse(change: &str) -> Result<(String, Value), Failure> {
    let (key, text) =
        change.split_once('=').ok_or_else(|| Failure::input(format!("'{change}' is not KEY=VALUE")))?;
    let setting = find(key).ok_or_else(|| unknown(key))?;
    let is_text = matches!(setting.kind, Kind::Text(_) | Kind::List);
    let value = if text.is_empty() && !is_text {
        Value::Null
    } else {
        setting.parse(text).map_err(Failure::input)?
    };
    Ok((key.to_owned(), value))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Whole numbers are printed without a fraction: 2500, not 2500.0.
        Value::Number(number) => {
            number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
        }
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn list(context: &Context, values: &BTreeMap<String, Value>) -> Result<(), Failure> {
    if context.json {
        return print_json(values);
    }
    let mut rows = vec![["setting", "value", "default", "allowed"].map(str::to_owned).to_vec()];
    for setting in ALL {
        let allowed = match setting.kind {
            Kind::Flag(_) => "on, off".to_owned(),
            Kind::Number { min, max, unit, .. } => format!("{min} to {max} {unit}"),
            Kind::Choice(words) => words.join(", "),
            Kind::Text(_) => "text".to_owned(),
            Kind::List => "names, separated by commas".to_owned(),
            Kind::Week => "168 × 0 off, 1 full, 2 quiet".to_owned(),
        };
        // The week plan would make the table too wide.
        let short = |value: &Value| {
            let text = plain(value);
            if text.len() > 30 { format!("{}…", &text[..24]) } else { text }
        };
        rows.push(vec![
            setting.key.to_owned(),
            values.get(setting.key).map(&short).unwrap_or_default(),
            short(&setting.default()),
            allowed.trim_end().to_owned(),
        ]);
    }
    print_table(&rows);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_shown_whole_and_no_digit_is_lost() {
        let shown = |number: f64| plain(&Value::from(number));
        assert_eq!(
            [2500.0, 0.0, -3.0, 0.1, 1_000_000_000.0, 62.5].map(shown),
            ["2500", "0", "-3", "0.1", "1000000000", "62.5"]
        );
        for setting in ALL.iter().filter(|setting| matches!(setting.kind, Kind::Number { .. })) {
            let text = plain(&setting.default());
            assert!(
                !text.ends_with(".0") && setting.parse(&text) == Ok(setting.default()),
                "{}: {text}",
                setting.key
            );
        }
    }
}
