/// What is logged where nobody says otherwise: from `level` on what this program says, and errors of what it is made of.
///
/// What the libraries of the network say, others can make them say as often as they like. Those of `yamux` are
/// mistakes of the other side.
#[must_use]
pub fn log_filter(level: &str) -> String {
    format!("error,fog={level},tauri_plugin_fog={level},yamux=off,libp2p_yamux=off")
}
