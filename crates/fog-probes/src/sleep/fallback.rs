use super::BeforeSleep;

/// Phones decide for themselves; what runs there is saved at every pause.
pub(crate) fn watch(_before: BeforeSleep) -> std::io::Result<()> {
    Ok(())
}
