use super::BeforeSleep;

/// Does nothing: phones give no notice, and tasks there are saved at every pause.
pub(crate) fn watch(_before: BeforeSleep) -> std::io::Result<()> {
    Ok(())
}
